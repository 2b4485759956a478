# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import pytest

import seas_aug
from seas_aug.artifact import code


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the source, which can be changed."""
    source = Path(seas_aug.__file__).parent
    shutil.copytree(source, tmp_path / "seas_aug", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    monkeypatch.setattr(seas_aug, "__file__", str(tmp_path / "seas_aug" / "__init__.py"))
    code._code_version.cache_clear()
    yield tmp_path / "seas_aug"
    code._code_version.cache_clear()


def version(parts):
    code._code_version.cache_clear()
    return code.code_version(parts)


def test_what_decides_pixels_counts_and_nothing_else(copy):
    before = {parts: version(parts) for parts in (code.TRAINING, code.DRAWING, code.BENCHMARK)}
    assert all(text.startswith(f"{seas_aug.__version__}+") for text in before.values())
    for file, changed in (
        ("report/demo.py", set()),
        ("finetune/run.py", {code.TRAINING, code.BENCHMARK}),
        ("generate/run.py", {code.DRAWING, code.BENCHMARK}),
        ("benchmark/measure.py", {code.BENCHMARK}),
        ("draw/place.py", {code.TRAINING, code.DRAWING, code.BENCHMARK}),
    ):
        text = (copy / file).read_text()
        (copy / file).write_text(text + "\n# changed\n")
        assert {parts for parts, old in before.items() if version(parts) != old} == changed, file
        (copy / file).write_text(text)


def test_a_new_file_and_the_number_count_and_line_ends_do_not(copy, monkeypatch):
    before = version(code.DRAWING)
    text = (copy / "draw" / "place.py").read_bytes()
    (copy / "draw" / "place.py").write_bytes(text.replace(b"\n", b"\r\n"))
    assert version(code.DRAWING) == before
    (copy / "draw" / "new.py").write_text("")
    assert version(code.DRAWING) != before
    (copy / "draw" / "new.py").unlink()
    monkeypatch.setattr(seas_aug, "__version__", "9.9")
    assert version(code.DRAWING) == before.replace(before.partition("+")[0], "9.9")
