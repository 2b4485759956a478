# SPDX-License-Identifier: Apache-2.0
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seas_aug.artifact.lock import LOCK, FolderInUseError, holder, only_writer
from seas_aug.errors import SeasError

HOLD = """
import sys, time
from pathlib import Path
from seas_aug.artifact.lock import only_writer
with only_writer(Path(sys.argv[1]), "generating", 60):
    print("held", flush=True)
    time.sleep(60)
"""
# Reads a number, adds one, and writes it back, with time for others to do so in between.
COUNT = """
import sys, time
from pathlib import Path
from seas_aug.artifact.lock import only_writer
folder = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with only_writer(folder, "counting", 120):
        number = int((folder / "number").read_text())
        time.sleep(0.01)
        (folder / "number").write_text(str(number + 1))
print("done")
"""


def held_by_another(folder: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def test_a_second_writer_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    with held_by_another(folder) as process:
        who = f"process {process.pid} on {socket.gethostname()}"
        assert holder(folder) == who
        said = f"{who} writes there now, so that generating has to wait; wait for its end or choose"
        with pytest.raises(FolderInUseError, match=said), only_writer(folder, "generating"):
            pytest.fail("two writers")
        process.kill()
    with only_writer(folder, "generating"):
        assert holder(folder) == f"process {os.getpid()} on {socket.gethostname()}"
    assert holder(folder) is None and not (folder / LOCK).exists()


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    with held_by_another(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
    assert (tmp_path / LOCK).exists()
    start = time.monotonic()
    with only_writer(tmp_path, "generating"):
        assert time.monotonic() - start < 5


def test_waiting_ends_with_the_holder_or_with_patience(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with held_by_another(tmp_path) as process:
        start = time.monotonic()
        with pytest.raises(FolderInUseError), only_writer(tmp_path, "generating", patience=0.5):
            pytest.fail("two writers")
        assert 0.4 < time.monotonic() - start < 5
        assert "waiting for it, 0 s at most" in capsys.readouterr().out
        subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {process.pid}"])
        # A child that nobody waits for is still there: the shell's kill is seen once this process has reaped it.
        process.wait(10)
        with only_writer(tmp_path, "generating", patience=20):
            assert holder(tmp_path) == f"process {os.getpid()} on {socket.gethostname()}"


@pytest.mark.parametrize("writers", [2, 4])
def test_no_count_is_lost_and_a_killed_writer_stops_nobody(tmp_path: Path, writers: int) -> None:
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path), "15"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(writers)]
    victim = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    assert victim.stdout is not None
    assert any(line == b"held\n" for line in victim.stdout)
    victim.kill()
    victim.wait()
    for process in processes:
        assert process.communicate(timeout=60)[0].endswith(b"done\n")
    assert int((tmp_path / "number").read_text()) == 15 * writers


def test_another_machines_lock_is_never_broken(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("1\nelsewhere\n")
    said = f"process 1 on elsewhere .* or delete {LOCK} in it if"
    with pytest.raises(FolderInUseError, match=said), only_writer(tmp_path, "fine-tuning"):
        pytest.fail("two writers")
    assert (tmp_path / LOCK).exists()


def test_a_process_id_that_is_used_again(tmp_path: Path) -> None:
    """The number in the lock is that of a process which runs, but began at another time."""
    (tmp_path / LOCK).write_text(f"{os.getppid()}\n{socket.gethostname()}\n12345\n")
    with only_writer(tmp_path, "generating"):
        assert holder(tmp_path) == f"process {os.getpid()} on {socket.gethostname()}"


@pytest.mark.parametrize("shift", [-1e9, 1e9])
def test_a_clock_that_jumps_takes_no_lock_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float) -> None:
    now = time.time
    with held_by_another(tmp_path) as process:
        monkeypatch.setattr(time, "time", lambda: now() + shift)
        with pytest.raises(FolderInUseError), only_writer(tmp_path, "generating", patience=0.5):
            pytest.fail("two writers")
        process.kill()


def test_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broken"), only_writer(tmp_path, "generating"):
        raise RuntimeError("broken")
    with only_writer(tmp_path, "generating"):
        assert (tmp_path / LOCK).exists()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SeasError, match="cannot be written"), only_writer(tmp_path / "file" / "cache", "generating"):
        pytest.fail("no folder")


STOPPED = """
import sys, time
from pathlib import Path
from seas_aug.artifact.lock import only_writer
from seas_aug.cli import main
def command(_):
    with only_writer(Path(sys.argv[1]), "generating", 60):
        print("held", flush=True)
        time.sleep(60)
main._dispatch = command
sys.exit(main.main(["generate"]))
"""


def test_a_command_that_is_told_to_stop_gives_its_lock_back(tmp_path: Path) -> None:
    """As a container's processes are: of another host's lock nobody could know that its holder is gone."""
    process = subprocess.Popen([sys.executable, "-c", STOPPED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    assert (tmp_path / LOCK).exists()
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert not (tmp_path / LOCK).exists()
