# SPDX-License-Identifier: Apache-2.0
import dataclasses
import shutil

import pytest

from seas_aug.artifact.model_hash import find_model, model_hash
from seas_aug.artifact.record import write_record
from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.generate.writer import made_from
from tests.anomalib_plugin import rendered
from tests.generate.fake import make_run


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> CategoryFolders:
    """A rendered category, pairs of it, and a run folder that knows its few-shot images."""
    folder = tmp_path_factory.mktemp("benchmark")
    root = rendered.make_category(folder / "part")
    generated = rendered.add_normals(rendered.make_generated(folder / "pairs", root))
    make_run(folder / "run")
    shutil.copy(generated / "split.json", folder / "run")
    record = made_from(generated)
    write_record(generated, dataclasses.replace(record, model=model_hash(find_model(folder / "run"))))
    return CategoryFolders(root, folder / "run", generated)
