# SPDX-License-Identifier: Apache-2.0
"""What importing costs, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution

import pytest

_HEAVY = {"torch", "anomalib", "lightning", "diffusers", "transformers", "cv2", "numpy"}


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_package_is_quick_and_light() -> None:
    code = (
        "import sys, time\nstart = time.perf_counter()\nimport seas_aug\nused = time.perf_counter() - start\n"
        f"print(used, *({_HEAVY!r} & set(sys.modules)))"
    )
    seconds = [float(_run(code)) for _ in range(3)]  # any heavy module would make this no number
    assert min(seconds) < 0.3


def test_anomalib_alone_does_not_notice() -> None:
    # Nothing of seas_aug runs when Python or anomalib start: no entry point of theirs, no .pth file with code.
    ours = [point for point in distribution("seas-aug").entry_points if point.value.startswith("seas_aug")]
    assert {point.group for point in ours} == {"console_scripts"}
    assert _run("import anomalib.data, sys; print('seas_aug' in sys.modules)") == "False"


def test_lazy_names() -> None:
    import seas_aug

    with pytest.raises(AttributeError, match="nonsense"):
        seas_aug.nonsense  # noqa: B018
