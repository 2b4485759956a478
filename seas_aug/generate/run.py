# SPDX-License-Identifier: Apache-2.0
"""``seas-aug generate``: make what is not there yet."""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from seas_aug.atomic import atomic_write_text
from seas_aug.errors import SeasError
from seas_aug.generate.model_hash import find_model, model_hash
from seas_aug.generate.plan import PlannedImage, batches, folder_name, plan_images, resolve_types
from seas_aug.generate.writer import PairWriter

SPLIT = "split.json"


class PairSource(Protocol):
    """What :func:`generate` asks of ``SeaSPipeline``."""

    @property
    def anomaly_types(self) -> tuple[str, ...]:
        """The types that the model was fine-tuned on."""

    @property
    def num_references(self) -> int:
        """How many reference normals the model holds."""

    def sampler_settings(
        self,
        strength: float | None,
        guidance_scale: float | None,
        num_inference_steps: int | None,
        copied_share: float | None,
    ) -> Any:
        """Raise ``SeasError`` where a setting is out of range."""

    def __call__(
        self,
        anomaly_type: str | Sequence[str] | None,
        *,
        num_images: int,
        seeds: list[int],
        reference_indices: list[int],
        batch_size: int,
        strength: float | None,
        guidance_scale: float | None,
        num_inference_steps: int | None,
        copied_share: float | None,
    ) -> Any:
        """Return a ``SeaSPipelineOutput`` whose image i depends on ``seeds[i]`` and ``reference_indices[i]`` only."""


@dataclass(frozen=True)
class GenerateResult:
    """What :func:`generate` did.

    Args:
        output: the folder.
        made: images made by this call.
        kept: images that were there already and were asked for.
        counts: images per folder (type, ``a+b`` or ``good``) that are there now.
        seconds: time for the images of this call, without loading the model.
    """

    output: Path
    made: int
    kept: int
    counts: dict[str, int]
    seconds: float


def generate(
    run: Path,
    output: Path,
    num_images: int,
    anomaly_types: Sequence[Sequence[str]] | None = None,
    normal: bool = False,
    seed: int = 0,
    batch_size: int = 8,
    strength: float | None = None,
    guidance_scale: float | None = None,
    num_inference_steps: int | None = None,
    copied_share: float | None = None,
    accelerator: str = "auto",
    pipeline: PairSource | None = None,
) -> GenerateResult:
    """Generate images into an MVTec layout with a manifest; call again after an interruption to continue.

    The run's ``split.json`` is copied beside the manifest.

    Args:
        run: run folder of ``seas-aug finetune`` or its ``model`` folder.
        output: folder to write; images that are in it already are kept.
        num_images: images per type.
        anomaly_types: one list of names per folder, several names are recombined in one image; None takes all types
            of the model.
        normal: make ``num_images`` normal images too.
        seed: base seed; the same seed gives the same images at every batch size.
        batch_size: images drawn at a time.
        strength: overrides the model's sampling setting; None keeps it. Likewise the three below.
        guidance_scale: classifier-free guidance.
        num_inference_steps: solver steps.
        copied_share: share of the defect images that start from a copied few-shot defect.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps``.
        pipeline: a loaded pipeline to use in place of the model in ``run``; ``run`` is still hashed.

    Returns:
        Counts and the time used.

    Raises:
        SeasError: no finished model in ``run``, an unknown type, an output folder with other content or settings, a
            mask that stays empty, a missing accelerator, or a full disk.
    """
    model = find_model(run)
    overrides: dict[str, Any] = {
        "strength": strength,
        "guidance_scale": guidance_scale,
        "num_inference_steps": num_inference_steps,
        "copied_share": copied_share,
    }
    settings = {"model": model_hash(model), "seed": seed, **overrides}
    pipe = load_source(model, accelerator) if pipeline is None else pipeline
    # A refused setting leaves no folder that a corrected one would differ from.
    pipe.sampler_settings(**overrides)
    types = resolve_types(anomaly_types, pipe.anomaly_types)
    plan = plan_images(types, num_images, normal, seed, pipe.num_references)
    writer = PairWriter(output, settings, num_images)
    copy_split(model, Path(output))
    done = {folder: writer.done(folder) for folder in {image.folder for image in plan}}
    missing = [image for image in plan if image.index not in done[image.folder]]
    start = time.perf_counter()
    with tqdm(total=len(plan), initial=len(plan) - len(missing), unit="image", desc="generate") as progress:
        for batch in batches(missing, batch_size):
            progress.set_postfix_str(batch[0].folder, refresh=False)
            make_batch(pipe, batch, writer, overrides)
            progress.update(len(batch))
    writer.finish()
    return GenerateResult(
        output=Path(output),
        made=len(missing),
        kept=len(plan) - len(missing),
        counts={folder_name(names): len(writer.done(folder_name(names))) for names in [*types, *([()] * normal)]},
        seconds=time.perf_counter() - start,
    )


def make_batch(pipe: PairSource, batch: list[PlannedImage], writer: PairWriter, overrides: dict[str, Any]) -> None:
    """Draw a batch of one folder and write it.

    Args:
        pipe: what draws.
        batch: one or more images of the same types.
        writer: of the folder.
        overrides: sampling settings for ``pipe``.

    Raises:
        SeasError: a mask stays empty, or the disk is full.
    """
    versions = {name: _version(name) for name in ("seas-aug", "torch", "diffusers")}
    names = batch[0].anomaly_types
    result = pipe(
        (names[0] if len(names) == 1 else list(names)) if names else None,
        num_images=len(batch),
        seeds=[image.seed for image in batch],
        reference_indices=[image.reference for image in batch],
        batch_size=len(batch),
        **overrides,
    )
    for position, planned in enumerate(batch):
        record = result.records[position]
        mask = result.masks[position] if names else None
        if mask is not None and not bool((mask > 0.5).any()):
            message = (
                f"{planned.folder} image {planned.index}: the mask is still empty after {record.retries} retries; "
                "expected a defect, fine-tune longer or lower sampling.mask_threshold."
            )
            raise SeasError(message)
        writer.write(
            planned.folder,
            planned.index,
            result.images[position],
            mask,
            result.references[position],
            {
                "seed": planned.seed,
                "anomaly_types": list(names),
                "prompt": record.prompt,
                "score": float(record.score) if math.isfinite(record.score) else None,
                "retries": int(record.retries),
                "reference_source": str(record.reference),
                "copied_from": list(record.copied_from),
                "versions": versions,
            },
        )


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
    from seas_aug.pipeline.seas_pipeline import SeaSPipeline

    loaded: Any = SeaSPipeline.from_pretrained(model)  # typed by the protocol above from here on
    pipe: PairSource = loaded.to(device)
    return pipe


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a source folder that was never installed
        return "unknown"
