# SPDX-License-Identifier: Apache-2.0
import os

import numpy as np
import pytest

from seas_aug.benchmark.memory import peak_memory, reset_peak_memory


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak is reset by writing to /proc/self/clear_refs"
)
def test_the_peak_is_that_since_the_reset() -> None:
    def use(mib: int) -> float:
        reset_peak_memory()
        taken = np.ones((mib, 2**20), np.uint8)
        assert taken[-1, -1] == 1
        return peak_memory()["host"]

    little, much, again = use(1), use(300), use(1)
    assert much > little + 200 and again < much - 200
