# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several folders of tests share; each is made once per session, and only read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.data.helpers import make_category, make_window_category

if TYPE_CHECKING:
    from tests.finetune.recording import Recording


@pytest.fixture(scope="session")
def category_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A category with the types crack and hole and 4 normal images."""
    return make_category(tmp_path_factory.mktemp("category") / "part", {"crack": 2, "hole": 3})


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of random weights for 32-pixel images: 3-level U-Net, 4x AutoencoderKL, CLIP."""
    from tests.tiny_base import write_base

    return write_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def whole(category_folder: Path, base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recording]:
    """A run of both stages that nothing interrupted, and what it was trained on."""
    from seas_aug.finetune.run import finetune
    from tests.finetune.recording import recorded
    from tests.tiny_base import tiny_config

    output = tmp_path_factory.mktemp("runs") / "whole"
    with recorded() as recording:
        finetune(tiny_config(category_folder, output, base_folder))
    return output, recording


@pytest.fixture(scope="session")
def run_folder(whole: tuple[Path, Recording]) -> Path:
    """A finished run of both stages."""
    return whole[0]


@pytest.fixture(scope="session")
def window_category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A category with the types crack and hole and 4 normal images, all larger than the base's pictures."""
    return make_window_category(tmp_path_factory.mktemp("windows") / "part")


@pytest.fixture(scope="session")
def window_run(window_category: Path, base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of both stages in windows, whose images start from copied defects."""
    from seas_aug.finetune.run import finetune
    from tests.tiny_base import window_config

    output = tmp_path_factory.mktemp("runs") / "windows"
    finetune(window_config(window_category, output, base_folder))
    return output
