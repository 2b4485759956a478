# SPDX-License-Identifier: Apache-2.0
"""What is left behind when a training on a stream of pairs goes wrong: its processes killed, its disk full.

Command, on Linux (the full disk is a small file system in memory, which only root may mount)::

    python -m benchmarks.streaming_faults --data.root ROOT --run RUN --output benchmarks/results/streaming_faults.json

Each fault happens to a real ``seas-aug fit`` of a narrow DRAEM. Noted are its exit code, what it said, processes that
outlive it by more than a minute, and pictures of the pool that its manifest lists and that cannot be read. Exit code 1
if there are any, or if nothing was said.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.streaming import broken_files
from seas_aug.anomalib_plugin.textures import make_textures
from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.data.category import read_mvtec_folder
from seas_aug.environment import describe_environment
from seas_aug.errors import SeasError
from seas_aug.generate.writer import read_manifest

FAULTS = ("training killed", "producer killed", "disk full")
_SIZE = 64
_PATIENCE = 60.0  # seconds
_LONGEST = 400.0
_TRAINED = 10.0  # seconds of training before a process is killed
_MEGABYTES = 4  # of the small disk: enough for the first pairs, not for those that replace them


def make_config(root: Path, run: Path, folder: Path, cache: Path, steps: int) -> Path:
    """Write the config of a training on a stream.

    Args:
        root: category in MVTec layout.
        run: run folder of ``seas-aug finetune``.
        folder: where everything but the pool is written.
        cache: where the pool is written.
        steps: updates.

    Returns:
        The YAML file.
    """
    augmentation = {
        "class_path": "seas_aug.anomalib_plugin.SeasAugmentation",
        "init_args": {
            **{"run": str(run), "cache": str(cache), "probability": 1.0, "num_images": 10},
            **{"stream": True, "stream_uses": 1, "stream_threads": 1},
        },
    }
    textures = make_textures(folder / "textures", per_kind=1, size=_SIZE)
    model = {
        "class_path": "seas_aug.benchmark.narrow_draem.NarrowDraem",
        "init_args": {"width": 4, "lr": 1e-3, "size": _SIZE, "dtd_dir": str(textures)},
    }
    data = {
        "class_path": "MVTecAD",
        "init_args": {"root": str(root.resolve().parent), "category": root.resolve().name, "num_workers": 2},
    }
    data["init_args"] |= {"train_batch_size": 4}  # type: ignore[operator]
    trainer = {"max_steps": steps, "default_root_dir": str(folder / "results"), "limit_val_batches": 0}
    trainer |= {"max_epochs": -1, "accelerator": "cpu", "num_sanity_val_steps": 0}
    content = {"augmentation": augmentation, "model": model, "data": data, "trainer": trainer}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def processes_with(text: str) -> list[int]:
    """Return the numbers of the running processes whose command line holds a text."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended meanwhile
            if text in line:
                found.append(int(folder.name))
    return found


def wait_until(condition: Callable[[], Any], seconds: float) -> bool:
    """Tell whether a condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of a few megabytes on a folder.

    Raises:
        SeasError: it may not be mounted.
    """
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        raise SeasError(f"a small disk cannot be mounted ({mounted.stderr.strip()}); run it as root, on Linux.")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def cause(fault: str, root: Path, run: Path, folder: Path, cache: Path) -> dict[str, Any]:
    """Train, let the fault happen, and look at what is left.

    Args:
        fault: one of :data:`FAULTS`.
        root: category in MVTec layout.
        run: run folder of ``seas-aug finetune``.
        folder: empty, for everything but the pool.
        cache: for the pool.

    Returns:
        ``exit_code``, ``said`` (the lines about the stream), ``processes_left``, ``listed`` and ``broken_files``.

    Raises:
        SeasError: the training did not start, or did not end.
    """
    config = make_config(root, run, folder, cache, steps=10**6 if fault == "training killed" else 300)
    output = folder / "output.txt"
    with output.open("wb") as file:
        command = [sys.executable, "-m", "seas_aug", "fit", "--config", str(config)]
        training = subprocess.Popen(command, stdout=file, stderr=file)
    started = wait_until(lambda: b"training on" in output.read_bytes() or training.poll() is not None, _LONGEST)
    if not started or training.poll() is not None:
        training.kill()
        raise SeasError(f"{fault}: the training did not start; its output ends {_tail(output)!r}.")
    time.sleep(_TRAINED)
    if fault == "training killed":
        training.kill()
    elif fault == "producer killed":
        for process in processes_with(f"--output={cache}"):
            os.kill(process, signal.SIGKILL)
    if not wait_until(lambda: training.poll() is not None, _LONGEST):
        training.kill()
        raise SeasError(f"{fault}: the training did not end; its output ends {_tail(output)!r}.")
    ended = wait_until(lambda: not processes_with(str(cache)), _PATIENCE)
    (manifest,) = cache.glob("streams/*/manifest.jsonl")
    lines = output.read_text(errors="replace").replace("\r", "\n").splitlines()
    said = [line for line in lines if "renewed any more (" in line]  # anomalib's console repeats it, wrapped
    return {
        "exit_code": training.returncode,
        "said": said,
        "processes_left": 0 if ended else len(processes_with(str(cache))),
        "listed": sum(bool(entry["file"]) for entry in read_manifest(manifest.parent)),
        "broken_files": broken_files(manifest.parent),
    }


def _tail(path: Path) -> str:
    return path.read_text(errors="replace").strip()[-300:]


def is_clean(fault: str, found: dict[str, Any]) -> bool:
    """Tell whether nothing was left behind, and the user was told where there was somebody to tell.

    Args:
        fault: one of :data:`FAULTS`.
        found: see :func:`cause`.
    """
    told = fault == "training killed" or (len(found["said"]) == 1 and found["exit_code"] == 0)
    return told and found["listed"] > 0 and not found["processes_left"] and not found["broken_files"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, 1 if something was left behind, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming_faults", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data.root", dest="root", type=Path, required=True, help="Category in MVTec layout.")
    parser.add_argument("--run", type=Path, required=True, help="Run folder of `seas-aug finetune`.")
    parser.add_argument("--fault", nargs="+", choices=FAULTS, default=list(FAULTS), help="What is to go wrong.")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write.")
    options = parser.parse_args(argv)
    result: dict[str, Any] = {}
    try:
        category = read_mvtec_folder(options.root).name
        for fault in options.fault:
            with tempfile.TemporaryDirectory() as temporary:
                folder, cache = Path(temporary) / "training", Path(temporary) / "cache"
                folder.mkdir()
                if fault == "disk full":
                    with small_disk(cache):
                        result[fault] = cause(fault, options.root, options.run, folder, cache)
                else:
                    result[fault] = cause(fault, options.root, options.run, folder, cache)
            print(f"{fault}: {json.dumps(result[fault])}", flush=True)
        content = {"category": category, "faults": result, "environment": describe_environment()}
        text = json.dumps(content, indent=1, sort_keys=True).replace(f"{tempfile.gettempdir()}/", "")
        atomic_write_text(options.output, text + "\n")
    except SeasError as error:
        print(f"streaming_faults: error: {error}", file=sys.stderr)
        return 2
    return 0 if all(is_clean(fault, found) for fault, found in result.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
