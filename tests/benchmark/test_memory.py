# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys

import pytest

# In a process of its own: this one gives memory of earlier tests back whenever it likes.
USED = """
import json
import numpy as np
from seas_aug.benchmark.memory import peak_memory, reset_peak_memory

def use(mib):
    reset_peak_memory()
    taken = np.ones((mib, 2**20), np.uint8)
    assert taken[-1, -1] == 1
    return peak_memory()["host"]

print(json.dumps([use(1), use(300), use(1)]))
"""


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak is reset by writing to /proc/self/clear_refs"
)
def test_the_peak_is_that_since_the_reset() -> None:
    done = subprocess.run([sys.executable, "-c", USED], capture_output=True, text=True, timeout=120, check=True)
    little, much, again = json.loads(done.stdout)
    assert much > little + 200 and again < much - 200
