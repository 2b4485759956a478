# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from tests.report.tiny_demo import make_demo

TYPES = ("open", "pit", "scratch", "spur", "stain")  # of the demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_demo(tmp_path_factory.getbasetemp() / "tiny_demo")
