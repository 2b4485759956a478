# SPDX-License-Identifier: Apache-2.0
import json
import multiprocessing
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from seas_aug.benchmark.devices import DevicePool, Job, check_devices
from seas_aug.errors import SeasError


def pool_of(jobs: list[Job], devices: list[str]) -> DevicePool:
    pool = DevicePool(devices)
    assert [pool.add(job) for job in jobs] == list(range(len(jobs)))
    return pool


def note(path: Path, seconds: float = 0.0) -> None:
    time.sleep(seconds)
    path.write_text(os.environ["CUDA_VISIBLE_DEVICES"])


def die() -> None:
    os._exit(9)


def test_jobs_share_the_devices_and_a_killed_one_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-abc")
    paths = [tmp_path / str(index) for index in range(3)]
    codes = dict(pool_of([die, *(partial(note, path) for path in paths)], ["0", "1"]).run())
    assert codes == {0: 9, 1: 0, 2: 0, 3: 0}
    assert {path.read_text() for path in paths} <= {"4", "GPU-abc"}


def test_jobs_come_by_rank_and_one_that_is_added_later_before_those_of_a_higher_rank(tmp_path: Path) -> None:
    pool, ended = DevicePool(["0"]), []
    for rank, name in ((2, "last"), (0, "first"), (0, "second")):
        pool.add(partial(note, tmp_path / name), rank)
    for number, _ in pool.run():
        ended.append(number)
        if number == 1:
            assert pool.add(partial(note, tmp_path / "third"), rank=1) == 3
    assert ended == [1, 2, 3, 0]


def note_times(path: Path) -> None:
    began, loaded = time.time(), "anomalib.models" in sys.modules and not torch.cuda._is_in_bad_fork()
    time.sleep(2)
    path.write_text(
        json.dumps({"began": began, "ended": time.time(), "loaded": loaded, "threads": torch.get_num_threads()})
    )


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="Windows has no fork")
def test_a_device_named_twice_runs_two_jobs_at_a_time_which_import_nothing_anew(tmp_path: Path) -> None:
    paths = [tmp_path / str(index) for index in range(2)]
    assert dict(pool_of([partial(note_times, path) for path in paths], ["0", "0"]).run()) == {0: 0, 1: 0}
    first, second = (json.loads(path.read_text()) for path in paths)
    assert first["loaded"] and second["loaded"]
    assert first["threads"] == second["threads"] == max(1, (os.cpu_count() or 1) // 2)
    assert max(first["began"], second["began"]) < min(first["ended"], second["ended"])


def test_an_interruption_ends_what_is_running(tmp_path: Path) -> None:
    jobs: list[Job] = [
        partial(note, tmp_path / "first"),
        partial(note, tmp_path / "second", 60.0),
        partial(note, tmp_path / "third"),
    ]
    started = time.monotonic()
    running = pool_of(jobs, ["0", "1"]).run()
    next(running)
    running.close()  # as Ctrl+C does
    assert time.monotonic() - started < 40
    time.sleep(1)
    assert not (tmp_path / "second").exists()


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices([])
    check_devices([1, "0"])
    for wrong in ([2], [0, 0], ["GPU-abc"]):
        with pytest.raises(SeasError, match="give the numbers 0 to 1, each once"):
            check_devices(wrong)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SeasError, match=r"shows 0 CUDA device\(s\); give none"):
        check_devices([0])


ORPHANED = """
import sys
from functools import partial
from pathlib import Path
from seas_aug.benchmark.devices import DevicePool
from tests.benchmark.test_devices import note_and_wait
if __name__ == "__main__":
    pool = DevicePool(["0"])
    pool.add(partial(note_and_wait, Path(sys.argv[1])))
    list(pool.run())
"""


def note_and_wait(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(300)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_a_killed_benchmark_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "orphaned.py").write_text(ORPHANED)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    path = tmp_path / "pid"
    with subprocess.Popen([sys.executable, str(tmp_path / "orphaned.py"), str(path)], env=environment) as benchmark:
        until = time.monotonic() + 120
        while not (path.exists() and path.read_text()) and time.monotonic() < until:
            time.sleep(0.1)
        job = int(path.read_text())
        assert is_running(job)
        benchmark.kill()
    until = time.monotonic() + 20
    while is_running(job) and time.monotonic() < until:
        time.sleep(0.1)
    assert not is_running(job)
