# SPDX-License-Identifier: Apache-2.0
import shutil

import pytest

from seas_aug.benchmark.grid import CategoryFolders
from tests.anomalib_plugin import rendered
from tests.generate.fake import make_run


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> CategoryFolders:
    """A rendered category, pairs of it, and a run folder that knows its few-shot images."""
    folder = tmp_path_factory.mktemp("benchmark")
    root = rendered.make_category(folder / "part")
    generated = rendered.make_generated(folder / "pairs", root)
    make_run(folder / "run")
    shutil.copy(generated / "split.json", folder / "run")
    return CategoryFolders(root, folder / "run", generated)
