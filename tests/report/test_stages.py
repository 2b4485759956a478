# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from seas_aug.errors import SeasError
from seas_aug.report.stages import Stages


def test_a_stage_is_done_once_and_its_seconds_add_up(tmp_path: Path) -> None:
    done: list[str] = []

    def fail() -> None:
        raise KeyboardInterrupt

    stages = Stages(tmp_path / "out", {"seed": 0, "sizes": (1, 2)}, 2)
    stages.run("one", lambda: done.append("one"))
    with pytest.raises(KeyboardInterrupt):
        stages.run("two", fail)
    assert set(stages.seconds) == {"one", "two"}
    again = Stages(tmp_path / "out", {"seed": 0, "sizes": (1, 2)}, 2)
    again.run("one", fail)
    again.run("two", lambda: done.append("two"))
    assert done == ["one", "two"]


def test_foreign_or_other_folder(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(SeasError, match="holds other files"):
        Stages(tmp_path, {}, 1)
    Stages(tmp_path / "out", {"seed": 0}, 1)
    with pytest.raises(SeasError, match="other settings"):
        Stages(tmp_path / "out", {"seed": 1}, 1)
    (tmp_path / "out" / "stages.json").write_text("{")
    with pytest.raises(SeasError, match="damaged"):
        Stages(tmp_path / "out", {"seed": 0}, 1)
