# SPDX-License-Identifier: Apache-2.0
"""How fast a stream renews its pairs while a detector trains on them, and what that costs the training.

Command::

    python -m benchmarks.streaming --data.root ROOT --run RUN --generated DIR --uses 16 --threads 1 \
        --output benchmarks/results/streaming.json

The detector (anomalib's DRAEM, narrow, see :mod:`seas_aug.benchmark.narrow_draem`) is trained twice: on the fixed pool
``--generated`` and on a stream of the model in ``--run``. Stated is one new pair for ``--uses`` that are drawn; how
many that were, how many were made, and the updates a second are printed. Exit code 1 if the producer outlives the
training, or a picture that the pool's manifest lists cannot be read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import torch
from lightning import seed_everything
from lightning.pytorch import Callback, LightningModule, Trainer

from seas_aug.anomalib_plugin import SeasAugmentation
from seas_aug.anomalib_plugin.streamed import StreamedPool
from seas_aug.anomalib_plugin.textures import make_textures
from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.benchmark.detection import train_detector
from seas_aug.benchmark.narrow_draem import NarrowDraem
from seas_aug.data.category import read_mvtec_folder
from seas_aug.environment import describe_environment
from seas_aug.errors import SeasError
from seas_aug.generate.writer import pairs_made, read_manifest
from seas_aug.report.demo_detector import DetectorSettings

_SIZE = 128


class Recorder(Callback):
    """Notes what happens to the pool between the first and the last update.

    Args:
        augmentation: whose pool it is.
    """

    def __init__(self, augmentation: SeasAugmentation) -> None:
        self._augmentation = augmentation
        self._start = 0.0
        self._made_before = 0
        self.seconds = 0.0
        self.drawn = self.made = 0
        self.folder: Path | None = None
        self.producer: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the start."""
        del trainer, pl_module
        pool = self._augmentation.pool
        if isinstance(pool, StreamedPool):
            self.folder, self.producer = pool.folder, pool.producer_pid
            self._made_before = self._made()
        self._start = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the end."""
        del trainer, pl_module
        self.seconds = time.perf_counter() - self._start
        pool = self._augmentation.pool
        if isinstance(pool, StreamedPool):
            self.drawn, self.made = pool.drawn, self._made() - self._made_before

    def _made(self) -> int:
        """Count the pairs made so far."""
        return sum(pairs_made(self.folder).values()) if self.folder else 0


def is_running(pid: int) -> bool:
    """Tell whether a process with this number runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def broken_files(folder: Path) -> list[str]:
    """Return the pictures that a pool's manifest lists and that cannot be read."""
    entries = [entry for entry in read_manifest(folder) if entry["file"]]  # a refused seed has no picture
    listed = [entry[kind] for entry in entries for kind in ("file", "mask", "reference")]
    return [name for name in listed if cv2.imread(str(folder / name)) is None]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train on a fixed pool and on a stream.

    Args:
        options: those of the command.

    Returns:
        Settings and figures.

    Raises:
        SeasError: a folder cannot be used.
    """
    settings = DetectorSettings(steps=options.steps)
    result: dict[str, Any] = {"category": read_mvtec_folder(options.root).name, "detector": asdict(settings)}
    result |= {"uses": options.uses, "num_images": options.num_images, "threads": options.threads}
    with tempfile.TemporaryDirectory() as folder:
        textures = make_textures(Path(folder) / "textures", size=_SIZE, seed=0)
        common = {"run": str(options.run), "cache": str(Path(folder) / "cache"), "num_images": options.num_images}
        streamed = {"stream": True, "stream_uses": options.uses, "stream_threads": options.threads}
        for name, own in {"fixed": {"generated": str(options.generated)}, "stream": streamed}.items():
            augmentation = SeasAugmentation(**common, **own)
            recorder = Recorder(augmentation)
            seed_everything(0)
            model = NarrowDraem(settings.width, settings.lr, _SIZE, str(textures))
            callbacks = [augmentation, recorder]
            train_detector(model, options.root, callbacks, Path(folder) / name, settings.steps, settings.batch_size, 0)
            result[name] = {"updates_per_second": round(settings.steps / recorder.seconds, 3)}
            if recorder.folder is not None and recorder.producer is not None:
                result[name] |= {
                    "drawn": recorder.drawn,
                    "stated": recorder.drawn // options.uses,
                    "made": recorder.made,
                    "producer_left": is_running(recorder.producer),
                    "broken_files": broken_files(recorder.folder),
                }
    return result | {"environment": describe_environment()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, 1 if something was left behind, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data.root", dest="root", type=Path, required=True, help="Category in MVTec layout.")
    parser.add_argument("--run", type=Path, required=True, help="Run folder of `seas-aug finetune`.")
    parser.add_argument("--generated", type=Path, required=True, help="Fixed pool of `seas-aug generate`.")
    parser.add_argument("--num_images", type=int, default=10, help="Pairs of each type in the stream.")
    parser.add_argument("--uses", type=int, default=4, help="A pair is renewed for so many that are drawn.")
    parser.add_argument("--steps", type=int, default=300, help="Updates of the detector.")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the detector, and of the producer.")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write.")
    options = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        result = measure(options)
        atomic_write_text(options.output, json.dumps(result, indent=1, sort_keys=True) + "\n")
    except SeasError as error:
        print(f"streaming: error: {error}", file=sys.stderr)
        return 2
    finally:
        torch.set_num_threads(threads)
    stream = result["stream"]
    print(
        f"{options.steps} updates: {result['fixed']['updates_per_second']:.2f} a second on a fixed pool, "
        f"{stream['updates_per_second']:.2f} on a stream; {stream['drawn']} pairs drawn, {stream['made']} made "
        f"(stated {stream['stated']})"
    )
    left = stream["producer_left"] or stream["broken_files"]
    if left:
        print(f"streaming: left behind: {stream['producer_left']=}, {stream['broken_files']=}", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
