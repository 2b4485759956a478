# SPDX-License-Identifier: Apache-2.0
"""Kills every command at random moments, runs it again, and compares what comes out with an undisturbed run.

Command::

    python -m benchmarks.kills --kills 200 --work DIR --output benchmarks/results/kills.json

``finetune``, ``generate``, ``benchmark`` and a training on a stream of pairs take their turns, each a real process on
a rendered category with a few updates. A process is killed with SIGKILL, one to five times in a row, at a moment
between its first write and the end; then the same command runs to its end. Compared are the hashes of its files: of a
run the model, its records and previews; of a folder of pairs every file; of a benchmark the figures of every cell; of
a stream every pair that is there, with the same pairs made at once. Noted are also processes that outlive a killed
one by more than half a minute. Exit code 1 if anything differs, fails, or outlives.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.streaming_faults import make_config, processes_with, wait_until
from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.base.renderer.category import render_category
from seas_aug.environment import describe_environment
from seas_aug.generate.writer import read_manifest

_SIZE, _PAIRS, _STREAMED = 64, 6, 24
_IN_A_ROW = 5  # kills before the command may end
_PATIENCE = 30.0  # seconds for what a killed process has started
_LONGEST = 900.0  # seconds of one command
Digest = dict[str, str]


@dataclass(frozen=True)
class Job:
    """A command and what it makes.

    Args:
        name: of the command.
        arguments: of ``python -m seas_aug``, from the folder that everything is written to.
        digest: of that folder, name by name.
        allowed: digest of what may be there, as far as it goes; None where it has to be that of an undisturbed run.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    digest: Callable[[Path], Digest]
    allowed: Digest | None = None


def hashes(folder: Path, without: Sequence[str] = ()) -> Digest:
    """Return the hash of every file below a folder by its path.

    Args:
        folder: what to read.
        without: beginnings of paths that are left out.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    kept = {name: path for name, path in files.items() if not name.startswith(tuple(without))}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for name, path in sorted(kept.items())}


def figures(folder: Path) -> Digest:
    """Return what a benchmark has measured, without seconds and memory."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "cells").glob("*.json"))]
    return {str(row["cell"]): json.dumps([row["status"], row.get("metrics")], sort_keys=True) for row in rows}


def pairs(folder: Path) -> Digest:
    """Return the hashes of every pair below a folder, by type and number."""
    found: Digest = {}
    for manifest in sorted(folder.rglob("manifest.jsonl")):
        for entry in read_manifest(manifest.parent):
            files = [manifest.parent / entry[key] for key in ("file", "mask", "reference") if entry["file"]]
            content = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)
            found[f"{entry['folder']}/{entry['index']}"] = hashlib.sha256(content).hexdigest()[:16]
    return found


def start(job: Job, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a job in a process of its own."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "seas_aug", *job.arguments(folder)], stdout=file, stderr=file, start_new_session=True
        )


def kill_at_random(job: Job, folder: Path, log: Path, seconds: float, rng: random.Random) -> bool:
    """Start a job and kill it; return False where it ended before.

    Args:
        job: what to run.
        folder: what it writes to.
        log: what it says.
        seconds: from its first write to its end, as measured undisturbed.
        rng: source of the moment.
    """
    before = _state(folder)
    process = start(job, folder, log)
    wait_until(lambda: process.poll() is not None or _state(folder) != before, _LONGEST)
    ended = wait_until(lambda: process.poll() is not None, rng.uniform(0, seconds))
    if not ended:
        os.kill(process.pid, signal.SIGKILL)
    code = process.wait(_LONGEST)
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{job.name} fails by itself with exit code {code}: {_last_line(log)}")
    return code == -signal.SIGKILL


def _state(folder: Path) -> set[tuple[str, int]]:
    return set(_times(folder))


def _times(folder: Path) -> Iterator[tuple[str, int]]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a temporary file may be gone by now
            yield str(path), path.stat().st_mtime_ns


def measure(job: Job, kills: int, work: Path, rng: random.Random) -> dict[str, Any]:
    """Kill a job so many times and compare.

    Args:
        job: what to run.
        kills: how many.
        work: scratch folder.
        rng: source of the moments.

    Returns:
        ``kills``, ``rounds`` (commands that then ran to their end), ``differ`` (names of files, by round), ``failed``
        (what was said), ``outlived`` (processes).
    """
    folder, log = work / job.name, work / f"{job.name}.log"
    whole = work / f"{job.name}.whole"
    process, began = start(job, whole, log), time.monotonic()
    wait_until(lambda: process.poll() is not None or bool(_state(whole)), _LONGEST)
    written = time.monotonic()
    if process.wait(_LONGEST):
        raise RuntimeError(f"{job.name} fails undisturbed, see {log}")
    seconds = time.monotonic() - written
    print(f"{job.name}: {written - began:.0f} s to the first write, {seconds:.0f} s to the end", flush=True)
    expected = job.digest(whole) if job.allowed is None else job.allowed
    found: dict[str, Any] = {"kills": 0, "rounds": 0, "differ": {}, "failed": [], "outlived": 0}
    while found["kills"] < kills:
        shutil.rmtree(folder, ignore_errors=True)
        for _ in range(min(rng.randint(1, _IN_A_ROW), kills - found["kills"])):
            try:
                killed = kill_at_random(job, folder, log, seconds, rng)
            except RuntimeError as error:  # it did not survive an earlier kill
                found["failed"].append(str(error))
                break
            found["kills"] += killed
            if not wait_until(lambda: not processes_with(str(folder)), _PATIENCE):
                found["outlived"] += len(processes_with(str(folder)))
            if not killed:
                break
        code = start(job, folder, log).wait(_LONGEST)
        found["rounds"] += 1
        if code:
            found["failed"].append(f"exit code {code} after {found['kills']} kills: {_last_line(log)}")
        there = job.digest(folder)
        names = there.keys() & expected.keys() if job.allowed is not None else there.keys() | expected.keys()
        if not names:
            found["failed"].append("nothing to compare")
        if different := sorted(name for name in names if there.get(name) != expected.get(name)):
            found["differ"][found["rounds"]] = different
        print(f"{job.name}: {found['kills']} kills, {len(found['differ'])} rounds differ", flush=True)
    return found


def _last_line(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]


def make_jobs(work: Path) -> dict[str, Job]:
    """Return the commands on a rendered category, with the model that all but the first of them draw with."""
    from seas_aug.generate.run import generate

    root = render_category(work / "part", size=_SIZE, normals=12, per_type=4, few_shot=2)
    few_shot, run = root / "split.json", work / "model"

    def finetune(output: Path) -> list[str]:
        options = {"max_steps": 6, "checkpoint_every": 2, "preview_every": 3, "accelerator": "cpu"}
        named = [f"--{name}={value}" for name, value in options.items()]
        return ["finetune", f"--data.root={root}", f"--data.few_shot={few_shot}", f"--output={output}", *named]

    if not (run / "model" / "model_index.json").is_file():
        subprocess.run([sys.executable, "-m", "seas_aug", *finetune(run)], check=True)
    options = {"num_images": _PAIRS, "batch_size": 2, "gate": "false", "accelerator": "cpu"}
    drawing = ["generate", f"--run={run}", *(f"--{name}={value}" for name, value in options.items()), "--normal"]
    given = work / "pairs"
    if not given.exists():
        subprocess.run([sys.executable, "-m", "seas_aug", *drawing, f"--output={given}"], check=True)
    settings = {
        "categories": [{"root": str(root), "few_shot": str(few_shot), "run": str(run), "generated": str(given)}],
        **{"seeds": [0, 1], "one_class": [], "quality": [], "masks": False, "detector_steps": 2},
        **{"segmentation_steps": 2, "detection_sources": ["perlin", "seas"], "draws": 10},
        "segmentation": {"unet": {"architecture": "Unet", "encoder": "resnet18"}},
    }
    (work / "benchmark.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    at_once = work / "streamed"  # seed 1: a stream's seed is the callback's and one more

    def train(output: Path) -> list[str]:
        output.mkdir(parents=True, exist_ok=True)
        return ["train", "--config", str(make_config(root, run, output, output / "cache", steps=30))]

    generate(run, at_once, _STREAMED, seed=1, accelerator="cpu")  # the pairs after them are not compared
    return {
        "finetune": Job("finetune", finetune, lambda folder: hashes(folder, ("log/",))),
        "generate": Job("generate", lambda output: [*drawing, f"--output={output}"], hashes),
        "benchmark": Job(
            "benchmark",
            lambda output: ["benchmark", "--config", str(work / "benchmark.yaml"), f"--output={output}"],
            figures,
        ),
        "stream": Job("stream", train, lambda folder: pairs(folder / "cache"), pairs(at_once)),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 if a kill left anything wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kills", type=int, default=200, help="Of all commands together.")
    parser.add_argument("--jobs", nargs="+", default=["finetune", "generate", "benchmark", "stream"], help="Commands.")
    parser.add_argument("--seed", type=int, default=0, help="Of the moments.")
    parser.add_argument("--work", type=Path, required=True, help="Scratch folder; what is made first is kept in it.")
    parser.add_argument("--output", type=Path, required=True, help="JSON of the figures.")
    options = parser.parse_args(argv)
    work = options.work.resolve()
    jobs, rng = make_jobs(work), random.Random(options.seed)  # noqa: S311 - no secret
    found = {}
    for place, name in enumerate(options.jobs):
        share = options.kills * (place + 1) // len(options.jobs) - options.kills * place // len(options.jobs)
        found[name] = measure(jobs[name], share, work, rng)
    content = {"jobs": found, "seed": options.seed, "environment": describe_environment()}
    atomic_write_text(options.output, json.dumps(content, indent=1, sort_keys=True) + "\n")
    wrong = [name for name, row in found.items() if row["differ"] or row["failed"] or row["outlived"]]
    print("\n".join(f"{name}: {row}" for name, row in found.items()))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
