# SPDX-License-Identifier: Apache-2.0
"""Jobs on CUDA devices: each in a process of its own."""

from __future__ import annotations

import heapq
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import wait
from typing import Any

from seas_aug.errors import SeasError

_SHOWN = "CUDA_VISIBLE_DEVICES"
_PATIENCE = 10  # seconds that a process has to end when it is told to
# What a job would import, which takes as long as a small network's training.
_PRELOADED = [
    "seas_aug.anomalib_plugin.callback",
    "seas_aug.benchmark.detection",
    "seas_aug.benchmark.detectors",
    "seas_aug.benchmark.mask_quality",
    "seas_aug.benchmark.quality",
    "seas_aug.benchmark.segmentation",
    "seas_aug.finetune.run",
    "seas_aug.generate.run",
    "seas_aug.environment",
    "segmentation_models_pytorch",  # where it is missing, the job says so
]
Job = Callable[[], object]


def check_devices(devices: Sequence[str | int]) -> None:
    """Refuse devices that are not there: a job would run on the CPU without a word.

    Args:
        devices: numbers of CUDA devices, counted among those that ``CUDA_VISIBLE_DEVICES`` shows if it is set.

    Raises:
        SeasError: a number that there is not, or one twice.
    """
    import torch

    count = torch.cuda.device_count()
    names = [str(device) for device in devices]
    if len(set(names)) < len(names) or not set(names) <= {str(number) for number in range(count)}:
        there = f"the numbers 0 to {count - 1}, each once" if count else "none"
        raise SeasError(f"devices is {list(devices)}, and this machine shows {count} CUDA device(s); give {there}.")


class DevicePool:
    """Runs jobs, as many at a time as devices are named; more can be added while others run.

    Args:
        devices: numbers of CUDA devices, see :func:`check_devices`; one that is named twice runs two jobs at a time.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._free = deque(devices)
        self._waiting: list[tuple[int, int, Job]] = []
        self._added = 0

    def add(self, job: Job, rank: int = 0) -> int:
        """Let a job wait for a device.

        Args:
            job: can be pickled.
            rank: jobs of a lower rank come first, and of one rank in the order in which they were added.

        Returns:
            Its number, counted from 0.
        """
        heapq.heappush(self._waiting, (rank, self._added, job))  # numbers differ, so that jobs are never compared
        self._added += 1
        return self._added - 1

    def run(self) -> Generator[tuple[int, int]]:
        """Run until no job is left; whatever ends this one, an interruption too, ends those that are running.

        Yields:
            The number of each job and the exit code of its process, as they end: 0, or what killed it.
        """
        context, threads = _context(), max(1, (os.cpu_count() or 1) // len(self._free))
        running: dict[Any, tuple[int, str, Any]] = {}
        try:
            while self._waiting or running:
                while self._waiting and self._free:
                    (_, number, job), device = heapq.heappop(self._waiting), self._free.popleft()
                    process = context.Process(target=_run, args=(job, _visible(device), threads))
                    process.start()
                    running[process.sentinel] = (number, device, process)
                for sentinel in wait(list(running)):
                    number, device, process = running.pop(sentinel)
                    process.join()
                    self._free.append(device)
                    yield number, int(process.exitcode or 0)
        finally:
            for _, _, process in running.values():
                process.terminate()
            until = time.monotonic() + _PATIENCE
            for _, _, process in running.values():
                process.join(max(0.0, until - time.monotonic()))
                process.kill()


def _context() -> Any:
    """Return where processes come from: a server that has imported everything once, else (on Windows) a new Python.

    CUDA does not survive a fork, and packages ask for it when they are imported: the server is shown no device.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    shown = os.environ.get(_SHOWN)
    os.environ[_SHOWN] = ""
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop(_SHOWN)
        if shown is not None:
            os.environ[_SHOWN] = shown
    return context


def end_with_parent() -> None:
    """End this process at once when the one that started it is gone: a killed benchmark writes nothing any more."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _visible(device: str) -> str:
    shown = os.environ.get(_SHOWN)
    names = shown.split(",") if shown else []
    return names[int(device)] if device.isdigit() and int(device) < len(names) else device


def _run(job: Job, device: str, threads: int) -> None:
    end_with_parent()
    os.environ[_SHOWN] = device
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches every process; the first one ends the others
    torch.set_num_threads(min(threads, torch.get_num_threads()))  # else all of them would use all cores
    job()
