# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the parity tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from seas_aug.finetune.run import finetune
from tests.parity.case import STEPS, official_config, write_parity_base


@pytest.fixture(scope="session")
def parity_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of Stable Diffusion's topology with random weights."""
    return write_parity_base(tmp_path_factory.mktemp("parity") / "base")


@pytest.fixture(scope="session")
def parity_run(category_folder: Path, parity_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two updates of each stage with ``--preset paper --official true``, but for its solver steps."""
    output = tmp_path_factory.mktemp("parity") / "run"
    finetune(official_config(category_folder, output, parity_base, mask_threshold=0.5, num_inference_steps=STEPS))
    return output
