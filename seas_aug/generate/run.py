# SPDX-License-Identifier: Apache-2.0
"""``seas-aug generate``: make what is not there yet."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.artifact.code import DRAWING, code_version
from seas_aug.artifact.lock import only_writer
from seas_aug.artifact.model_hash import find_model, model_hash
from seas_aug.artifact.record import Record
from seas_aug.config import DrawConfig, as_plain
from seas_aug.errors import SeasError
from seas_aug.generate.plan import PlannedImage, folder_name, plan_image, resolve_types, seeds_in_block
from seas_aug.generate.writer import PairWriter

logger = logging.getLogger(__name__)
SPLIT = "split.json"


class PairSource(Protocol):
    """What :func:`generate` asks of ``SeaSPipeline``."""

    @property
    def anomaly_types(self) -> tuple[str, ...]:
        """The types that the model was fine-tuned on."""

    def check(self, settings: DrawConfig) -> Sequence[int]:
        """Return the indices of the references to draw on; raise ``SeasError`` where a setting is out of range."""

    def __call__(
        self,
        anomaly_type: str | Sequence[str] | None,
        num_images: int,
        *,
        settings: DrawConfig,
        seeds: list[int],
        reference_indices: list[int],
        numbers: list[int],
        batch_size: int,
    ) -> Any:
        """Return a ``SeaSPipelineOutput`` whose image i depends on its seed, reference and number only."""


@dataclass(frozen=True)
class GenerateResult:
    """What :func:`generate` did.

    Args:
        output: the folder.
        made: images made by this call.
        kept: images that were there already and were asked for.
        counts: images per folder (type, ``a+b`` or ``good``) that are there now.
        seconds: time for the images of this call, without loading the model.
        refused: seeds per folder that gave no pair the gate accepts, by reason.
    """

    output: Path
    made: int
    kept: int
    counts: dict[str, int]
    seconds: float
    refused: dict[str, dict[str, int]] = field(default_factory=dict)


def generate(
    run: Path,
    output: Path,
    num_images: int,
    anomaly_types: Sequence[Sequence[str]] | None = None,
    normal: bool = False,
    seed: int = 0,
    settings: DrawConfig | None = None,
    batch_size: int = 8,
    accelerator: str = "auto",
    pipeline: PairSource | None = None,
) -> GenerateResult:
    """Generate images into an MVTec layout with a manifest; call again after an interruption to continue.

    The run's ``split.json`` is copied beside the manifest.

    Args:
        run: run folder of ``seas-aug finetune`` or its ``model`` folder.
        output: folder to write; images that are in it already are kept.
        num_images: accepted images per type. They come from a fixed block of seeds; where it holds fewer that the gate
            accepts, that is a warning.
        anomaly_types: one list of names per folder, several names are recombined in one image; None takes all types
            of the model.
        normal: make ``num_images`` normal images too.
        seed: base seed; the same seed gives the same images at every batch size.
        settings: where defects go, their number, size and strength; None takes the run's own.
        batch_size: images drawn at a time.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps``.
        pipeline: a loaded pipeline to use in place of the model in ``run``; ``run`` is still hashed.

    Returns:
        Counts and the time used.

    Raises:
        SeasError: no finished model in ``run``, an unknown type, an output folder with other content, settings or
            writer, or pairs of another version of the code to which more are to be added, no pair at all that the gate
            accepts, a missing accelerator, or a full disk.
    """
    for name, value in (("num_images", num_images), ("batch_size", batch_size)):
        if value < 1:
            raise SeasError(f"{name} is {value}; expected 1 or more, correct it.")
    model, settings = find_model(run), settings or DrawConfig()
    pipe = load_source(model, accelerator) if pipeline is None else pipeline
    # A refused setting leaves no folder that a corrected one would differ from.
    references = pipe.check(settings)
    types = resolve_types(anomaly_types, pipe.anomaly_types)
    kinds = [*types, *([()] if normal else [])]
    record, start, made = drawn_from(model, seed, settings), time.perf_counter(), 0
    with only_writer(Path(output), "generating"):
        writer = PairWriter(Path(output), record)
        if not writer.is_current:
            logger.warning("%s was made by another version of seas-aug; what is there is used as it is.", output)
        copy_split(model, Path(output))
        kept = sum(min(num_images, len(writer.done(folder_name(names)))) for names in kinds)
        with tqdm(total=num_images * len(kinds), initial=kept, unit="image", desc="generate") as progress:
            for names in kinds:
                progress.set_postfix_str(folder_name(names), refresh=False)
                block = [plan_image(names, index, seed, references) for index in range(seeds_in_block(num_images))]
                made += _fill(pipe, block, writer, settings, num_images, batch_size, progress)
        writer.finish()
    counts = {folder_name(names): len(writer.done(folder_name(names))) for names in kinds}
    refused = {name: reasons for name in counts if (reasons := writer.refused_reasons(name))}
    _tell(counts, refused, num_images, settings.gate)
    return GenerateResult(Path(output), made, kept, counts, time.perf_counter() - start, refused)


def _fill(
    pipe: PairSource,
    block: list[PlannedImage],
    writer: PairWriter,
    settings: DrawConfig,
    wanted: int,
    batch_size: int,
    progress: Any,
) -> int:
    """Draw the images of a folder, in order, until so many are accepted; return how many were made."""
    folder = block[0].folder
    accepted, refused = writer.done(folder), writer.refused(folder)
    waiting = [image for image in block if image.index not in accepted | refused]
    made = 0
    while waiting and len(writer.done(folder)) < wanted:
        writer.check_current()
        count = min(batch_size, wanted - len(writer.done(folder)))
        batch, waiting = waiting[:count], waiting[count:]
        there = make_batch(pipe, batch, writer, settings)
        made += there
        progress.update(there)
    return made


def _tell(counts: dict[str, int], refused: dict[str, dict[str, int]], wanted: int, gate: bool) -> None:
    """Warn where the gate let too few pairs through.

    Raises:
        SeasError: of a type there is none at all.
    """
    for name, count in counts.items():
        if count >= wanted:
            continue
        why = ", ".join(f"{reason} {times}x" for reason, times in refused.get(name, {}).items())
        if not count:
            message = (
                f"{name}: none of {seeds_in_block(wanted)} seeds gave a pair that is accepted ({why}); fine-tune "
                f"longer, allow another region or size{', or draw without the gate (--gate false)' if gate else ''}."
            )
            raise SeasError(message)
        logger.warning(
            "%s: %d pairs instead of %d, as the gate refused the other seeds (%s).", name, count, wanted, why
        )


def make_batch(pipe: PairSource, batch: list[PlannedImage], writer: PairWriter, settings: DrawConfig) -> int:
    """Draw a batch of one folder and write it; seeds that are refused are written down as such.

    Args:
        pipe: what draws.
        batch: one or more images of the same types.
        writer: of the folder.
        settings: for ``pipe``.

    Returns:
        How many images were written.

    Raises:
        SeasError: the disk is full.
    """
    versions = {name: _version(name) for name in ("seas-aug", "torch", "diffusers")}
    names = batch[0].anomaly_types
    result = pipe(
        (names[0] if len(names) == 1 else list(names)) if names else None,
        len(batch),
        settings=settings,
        seeds=[image.seed for image in batch],
        reference_indices=[image.reference for image in batch],
        numbers=[image.index for image in batch],
        batch_size=len(batch),
    )
    planned = {image.seed: image for image in batch}
    for position, record in enumerate(result.records):
        image = planned[record.seed]
        writer.write(
            image.folder,
            image.index,
            result.images[position],
            result.masks[position] if names else None,
            result.references[position],
            {
                "seed": image.seed,
                "anomaly_types": list(names),
                "prompt": record.prompt,
                "score": float(record.score) if math.isfinite(record.score) else None,
                "retries": int(record.retries),
                "rejected": list(record.rejected),
                "reference_source": str(record.reference),
                "copied_from": list(record.copied_from),
                "windows": [list(one) for one in record.windows],
                "versions": versions,
            },
        )
    for refusal in result.refused:
        image = planned[refusal.seed]
        reasons = list(refusal.reasons)
        writer.refuse(image.folder, image.index, {"seed": image.seed, "rejected": reasons, "versions": versions})
    return len(result.records)


def drawn_from(model: Path, seed: int, settings: DrawConfig, **more: Any) -> Record:
    """Return what a folder of generated images is made from.

    Args:
        model: the ``model`` folder of a run.
        seed: base seed.
        settings: of drawing.
        more: further plain values that tell folders apart.

    Raises:
        SeasError: a region or mask file does not exist.
    """
    return Record(code_version(DRAWING), model_hash(model), {"seed": seed, **more, **plain_settings(settings)})


def plain_settings(settings: DrawConfig) -> dict[str, Any]:
    """Return the settings that are not the default ones, as plain values.

    A region or a mask counts by its content.

    Raises:
        SeasError: one of them does not exist.
    """
    usual = as_plain(DrawConfig())
    plain = {name: value for name, value in as_plain(settings).items() if value != usual[name]}
    for name in ("region", "masks"):
        path = getattr(settings, name)
        if path is not None:
            plain[name] = _content(name, Path(path))
    return plain


def _content(what: str, path: Path) -> str:
    """Return a hash of a file, or of the names and contents of a folder's files."""
    if not path.exists():
        raise SeasError(f"{what} is {path}, which does not exist; give an image file or a folder of them.")
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    digest = hashlib.sha256()
    for file in sorted(item for item in path.iterdir() if item.is_file()):
        digest.update(f"{file.name}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def copy_split(model: Path, output: Path) -> None:
    """Keep the run's split beside the images, so that a detector knows which real images it must not be tested on."""
    source, target = model.parent / SPLIT, output / SPLIT
    if source.is_file() and not (target.is_file() and target.read_bytes() == source.read_bytes()):
        atomic_write_text(target, source.read_text(encoding="utf-8"))


def load_source(model: Path, accelerator: str) -> PairSource:
    """Load a fine-tuned model.

    Args:
        model: its ``model`` folder.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps``.

    Raises:
        SeasError: this machine has no such accelerator.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    device = {"gpu": "cuda", "auto": next(name for name, there in available.items() if there)}.get(
        accelerator, accelerator
    )
    if not available.get(device, False):
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise SeasError(f"accelerator is {accelerator}; expected auto or one that this machine has: {there}.")
    from seas_aug.draw.pipeline import SeaSPipeline

    loaded: Any = SeaSPipeline.from_pretrained(model)  # typed by the protocol above from here on
    pipe: PairSource = loaded.to(device)
    return pipe


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a source folder that was never installed
        return "unknown"
