# SPDX-License-Identifier: Apache-2.0
"""``augmentation: seas`` without a model: fine-tune on a few of the datamodule's defects, once per category.

A model is found again by a hash over the few-shot pictures, the normal ones and the settings; a changed picture or
setting makes a new one. Everything lies in the cache: ``models/<key>/`` (data links and run folder),
``pools/<key>/`` (generated pairs) and ``streams/<key>/``, each made by one process at a time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.seed import isolate_rng

from seas_aug.anomalib_plugin.cache import cache_folder
from seas_aug.artifact.atomic import atomic_folder, atomic_write_text
from seas_aug.artifact.code import DRAWING, TRAINING, code_version
from seas_aug.artifact.lock import CACHE_PATIENCE, only_writer
from seas_aug.base.load import base_hash, resolve_base
from seas_aug.config import DrawConfig, as_plain
from seas_aug.data.decode import content_hash
from seas_aug.data.selection import Selection
from seas_aug.errors import SeasError
from seas_aug.presets import settings_for


@dataclass(frozen=True)
class AutomaticSettings:
    """What decides an automatically made model and pool; each is explained at ``SeasAugmentation``."""

    root: Path | None
    few_shot: str
    groups: Path | None
    base: str
    max_steps: int | None
    cache: str | None
    anomaly_types: tuple[str, ...] | None
    num_images: int
    seed: int
    drawing: DrawConfig = field(default_factory=DrawConfig)
    accelerator: str = "auto"


def prepare_pool(
    settings: AutomaticSettings, run: Path | None = None, selection: Selection | None = None, normals: bool = False
) -> Path:
    """Return a folder of generated pairs, or of normal images, made now unless the cache has it.

    Args:
        settings: all of them are read.
        run: a fine-tuned run; without it a model is fine-tuned on ``selection``.
        selection: from :func:`~seas_aug.anomalib_plugin.selection.select_from_datamodule`.
        normals: make ``num_images`` normal images and no pair.

    Returns:
        The folder, with its manifest.

    Raises:
        SeasError: neither ``run`` nor ``selection``, or fine-tuning or generating is not possible.
    """
    from seas_aug.artifact.model_hash import find_model, model_hash
    from seas_aug.generate.run import generate

    cache = cache_folder(settings.cache)
    run = prepare_run(settings, run, selection)
    model = find_model(run)
    folder = cache / "pools" / _pool_key(settings, model_hash(model), "normals" if normals else settings.anomaly_types)
    pool, done = folder / "images", folder / "done"
    what = "normal images" if normals else "pairs per type"
    types = [name.split("+") for name in settings.anomaly_types] if settings.anomaly_types else None
    options: dict[str, Any] = {"anomaly_types": [], "normal": True} if normals else {"anomaly_types": types}
    if done.is_file() and _is_whole(pool, normals):  # no lock, which a read-only cache has no room for
        return pool
    with only_writer(folder, f"generating {what}", CACHE_PATIENCE):
        if not (done.is_file() and _is_whole(pool, normals)):  # what another process has done meanwhile
            print(f"seas-aug: generating {settings.num_images} {what} into {pool}.", flush=True)
            with isolate_rng():
                generate(
                    run=run,
                    output=pool,
                    num_images=settings.num_images,
                    seed=settings.seed,
                    settings=settings.drawing,
                    accelerator=settings.accelerator,
                    **options,
                )
            atomic_write_text(done, "")
    return pool


def _found(run: Path) -> bool:
    found = (run / "model" / "model_index.json").is_file()
    if found:
        print(f"seas-aug: found the model fine-tuned earlier in {run}.", flush=True)
    return found


def _is_whole(pool: Path, normals: bool) -> bool:
    """Tell whether nothing of a pool was deleted; what is missing is made again."""
    from seas_aug.anomalib_plugin.one_class import normal_images
    from seas_aug.anomalib_plugin.pool import read_manifest

    try:
        found = normal_images(pool) if normals else read_manifest(pool)
    except SeasError:
        return False
    return bool(found)


def prepare_run(settings: AutomaticSettings, run: Path | None = None, selection: Selection | None = None) -> Path:
    """Return the run folder of a fine-tuned model, fine-tuned now unless the cache has it.

    Args:
        settings: those of fine-tuning are read.
        run: a fine-tuned run, which is returned as it is.
        selection: what to fine-tune on otherwise, from
            :func:`~seas_aug.anomalib_plugin.selection.select_from_datamodule`.

    Raises:
        SeasError: neither ``run`` nor ``selection``, or fine-tuning is not possible.
    """
    if run is not None:
        return run
    if selection is None:
        message = "No run and no few-shot images were given; give augmentation.run, or a datamodule with defects."
        raise SeasError(message)
    return _fine_tuned(settings, selection, cache_folder(settings.cache))


def stream_folder(settings: AutomaticSettings, run: Path) -> Path:
    """Return where the pairs of a stream lie in the cache, so that a later run goes on with them.

    Args:
        settings: cache, types, number of pairs, drawing and seed are read.
        run: a fine-tuned run.
    """
    from seas_aug.artifact.model_hash import find_model, model_hash

    key = _pool_key(settings, model_hash(find_model(run)), settings.anomaly_types)
    return cache_folder(settings.cache) / "streams" / key


def _fine_tuned(settings: AutomaticSettings, selection: Selection, cache: Path) -> Path:
    from seas_aug.finetune.run import finetune

    chosen = settings_for(resolve_base(settings.base))
    config = dataclasses.replace(
        chosen,
        seed=settings.seed,
        data=dataclasses.replace(chosen.data, few_shot="1"),
        generator=dataclasses.replace(chosen.generator, max_steps=settings.max_steps),
        masks=dataclasses.replace(chosen.masks, max_steps=settings.max_steps),
    )
    shots = sorted((s.anomaly_type, content_hash(s.image), content_hash(s.mask)) for s in selection.split.samples)
    normals = sorted(content_hash(path) for path in selection.normals)  # others may be in validation or test now
    folder = cache / "models" / _key([shots, normals, as_plain(config), base_hash(config.base), code_version(TRAINING)])
    run = folder / "run"
    if _found(run):  # no lock, which a read-only cache has no room for
        return run
    with only_writer(folder, "fine-tuning", CACHE_PATIENCE):
        if _found(run):  # what another process has done meanwhile
            return run
        print(
            f"seas-aug: fine-tuning SeaS on {len(shots)} defect images into {run}; later runs find it there.",
            flush=True,
        )
        _link_layout(folder / "data", selection)
        data = dataclasses.replace(config.data, root=folder / "data")
        with isolate_rng():
            finetune(dataclasses.replace(config, output=run, data=data, accelerator=settings.accelerator))
    return run


def _link_layout(folder: Path, selection: Selection) -> None:
    """Lay the chosen files out as an MVTec category, so that any datamodule can be fine-tuned on."""
    with atomic_folder(folder) as root:
        _link(selection.normals, _stems(selection.normals), root / "train" / "good")
        for name, samples in selection.split.few_shot.items():
            stems = _stems([sample.image for sample in samples])
            _link([sample.image for sample in samples], stems, root / "test" / name)
            masks = [f"{stem}_mask" for stem in stems]  # of the image, whatever the mask itself is called
            _link([sample.mask for sample in samples], masks, root / "ground_truth" / name)


def _stems(files: Sequence[Path]) -> list[str]:
    """Return their own names, by which regions and references are told; images of several folders may share one."""
    counts = Counter(file.stem for file in files)
    taken, stems = set(counts), []
    for index, file in enumerate(files):
        stem = file.stem
        if counts[stem] > 1:
            stem = f"{stem}_{index:05d}"
            while stem in taken:  # never a second file of one name: a link would be followed, and the user's file lost
                stem += "_"
        taken.add(stem)
        stems.append(stem)
    return stems


def _link(files: Sequence[Path], stems: Sequence[str], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file, stem in zip(files, stems, strict=True):
        target = folder / f"{stem}{file.suffix}"
        try:
            target.symlink_to(file.absolute())
        except OSError:  # a file system or user without symbolic links
            shutil.copy2(file, target)


def _pool_key(settings: AutomaticSettings, model: str, what: str | tuple[str, ...] | None) -> str:
    from seas_aug.generate.run import plain_settings

    drawing = plain_settings(settings.drawing)
    return _key([model, settings.num_images, what, settings.seed, drawing, code_version(DRAWING)])


def _key(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
