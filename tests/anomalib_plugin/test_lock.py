# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from seas_aug.anomalib_plugin.lock import only_one

HOLD = """
import sys, time
from pathlib import Path
from seas_aug.anomalib_plugin.lock import only_one
with only_one(Path(sys.argv[1]), "the model"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    events: list[str] = []

    def make(name: str) -> None:
        with only_one(tmp_path / "models" / "key", "the model"):
            events.append(f"{name} begins")
            time.sleep(0.2)
            events.append(f"{name} ends")

    threads = [threading.Thread(target=make, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(events) == 6
    assert all(events[at][0] == events[at + 1][0] for at in (0, 2, 4))
    assert capsys.readouterr().out.count("another process makes the model") >= 1


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "key")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        os.kill(holder.pid, signal.SIGKILL)
    start = time.monotonic()
    with only_one(tmp_path / "key", "the model"):
        assert time.monotonic() - start < 5


def test_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broken"), only_one(tmp_path / "key", "it"):
        raise RuntimeError("broken")
    with only_one(tmp_path / "key", "it"):
        assert (tmp_path / "key.lock").exists()
