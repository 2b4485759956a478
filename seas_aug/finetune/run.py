# SPDX-License-Identifier: Apache-2.0
"""``seas-aug finetune``: data -> generator -> masks -> model folder. Stopped anywhere, it goes on from there."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import torch
import yaml
from tqdm import tqdm

from seas_aug.atomic import LEFTOVER_SUFFIX, atomic_folder, atomic_write_text, recover_folder, remove_leftovers
from seas_aug.base.load import BaseModels, load_base, resolve_base
from seas_aug.config import FineTuneConfig, GeneratorConfig, MaskConfig, as_plain
from seas_aug.data.category import Category, read_mvtec_folder
from seas_aug.data.datamodule import FewShotDataModule
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.data.few_shot import FewShotSplit, content_hash
from seas_aug.data.images import check_category_images, load_image, load_mask
from seas_aug.data.pictures import Pictures, needed_sides, read_pictures
from seas_aug.data.selection import select
from seas_aug.data.split_file import load_split, save_split
from seas_aug.draw.few_shot import FewShotDefects, FilePictures
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.references import ArrayReferences, FileReferences, References
from seas_aug.draw.sample import solver
from seas_aug.errors import SeasError
from seas_aug.finetune.generator_module import GeneratorModule, visited_timesteps
from seas_aug.finetune.mask_module import MaskModule
from seas_aug.finetune.optimiser import count_updates
from seas_aug.finetune.preview import PreviewGrid
from seas_aug.finetune.preview_rows import generator_rows, mask_rows
from seas_aug.finetune.training import MakeData, fit
from seas_aug.prompt.embedding import add_prompt_tokens, merge_prompt_tokens
from seas_aug.prompt.ua_prompt import UAPrompt

# What may differ between a run and its continuation.
_FREE_SETTINGS = ("output", "precision", "accelerator", "devices", "preview_every", "checkpoint_every")


def finetune(config: FineTuneConfig) -> Path:
    """Fine-tune one model for a category.

    Args:
        config: all settings; ``data.root`` or ``data.datamodule`` says where the images are.

    Returns:
        The ``model`` folder, which :meth:`SeaSPipeline.from_pretrained` loads.

    Raises:
        SeasError: any mistake in data or settings, or an output folder that holds a run with other settings or images.
    """
    # The alias becomes the version, so that a run is never continued on another base.
    config = dataclasses.replace(config, output=Path(config.output), base=resolve_base(config.base))
    output = config.output
    model = output / "model"
    _tidy(output)
    category = read_category(config)
    selection = select(category, str(config.data.few_shot), config.data.groups, config.data.num_normals)
    split, normals = selection.split, selection.normals
    _check_same_settings(config)
    if _is_model(model):
        _remove_intermediate(output)
        return model
    check_category_images(split, normals)
    _check_same_images(output, split, normals)
    pictures = None
    if not _is_model(output / "generator"):
        models = load_base(config.base)
        size = _image_size(config, models)
        # Only now: a refused first attempt leaves no settings behind that the corrected one would differ from.
        atomic_write_text(output / "config.yaml", yaml.safe_dump(as_plain(config), sort_keys=False))
        save_split(output / "split.json", split, normals)
        pictures = _train_generator(config, models, split, normals, size)
    _train_masks(config, split, normals, pictures)
    _remove_intermediate(output)
    return model


def read_category(config: FineTuneConfig) -> Category:
    """Return the images that the settings name: an MVTec-layout folder or an anomalib datamodule."""
    if config.data.datamodule is not None:
        from seas_aug.data.anomalib_source import read_anomalib_datamodule

        return read_anomalib_datamodule(config.data.datamodule)
    if config.data.root is None:
        message = "no data was given; pass --data.root FOLDER (train/good, test/<type>, ground_truth/<type>)."
        raise SeasError(message)
    return read_mvtec_folder(Path(config.data.root))


def _is_model(folder: Path) -> bool:
    return (folder / "model_index.json").is_file()


def _in_progress(output: Path) -> bool:
    """Return whether a run has got so far that it is continued and not begun again."""
    return any((output / "checkpoints").glob("*/last.ckpt")) or any(
        _is_model(output / name) for name in ("generator", "model")
    )


def _tidy(output: Path) -> None:
    """Mend or delete what a killed run left half written."""
    for name in ("generator", "model"):
        recover_folder(output / name)
    for leftover in output.glob(f".*{LEFTOVER_SUFFIX}"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    for name in ("previews", "log"):
        remove_leftovers(output / name)


def _remove_intermediate(output: Path) -> None:
    for name in ("generator", "checkpoints"):
        shutil.rmtree(output / name, ignore_errors=True)


def _check_same_settings(config: FineTuneConfig) -> None:
    """Refuse to continue a run with other settings than it was begun with."""
    path = config.output / "config.yaml"
    if not (_in_progress(config.output) and path.is_file()):
        return
    found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    wanted = {key: value for key, value in as_plain(config).items() if key not in _FREE_SETTINGS}
    different = [key for key in wanted if found.get(key) != wanted[key]]
    if different:
        key = different[0]
        message = (
            f"{config.output} holds a run with other settings ({key}: {found.get(key)} there, {wanted[key]} asked "
            "for); choose another --output, or delete that folder to start anew."
        )
        raise SeasError(message)


def _check_same_images(output: Path, split: FewShotSplit, normals: tuple[Path, ...]) -> None:
    """Refuse to continue a run on other images, which would then be missing in its ``split.json``."""
    path = output / "split.json"
    if not (_in_progress(output) and path.is_file()):
        return
    saved = load_split(path)
    before = [(sample.anomaly_type, saved.hashes[sample.image]) for sample in saved.split.samples]
    now = [(sample.anomaly_type, content_hash(sample.image)) for sample in split.samples]
    before += [("", saved.hashes[path]) for path in saved.normals]
    now += [("", content_hash(path)) for path in normals]
    if now != before:
        message = (
            f"{output} was begun with other few-shot or normal images than there are now; choose another --output, or "
            "delete that folder to start anew."
        )
        raise SeasError(message)


def _image_size(config: FineTuneConfig, models: BaseModels) -> int:
    from seas_aug.latents.codec import latent_scale

    size = models.image_size if config.data.image_size is None else config.data.image_size
    factor = latent_scale(models.vae) * 2 ** (len(models.unet.config.block_out_channels) - 1)
    if size < factor or size % factor:
        message = f"data.image_size is {size}; this base needs a multiple of {factor}, such as {models.image_size}."
        raise SeasError(message)
    return size


def _train_generator(
    config: FineTuneConfig, models: BaseModels, split: FewShotSplit, normals: tuple[Path, ...], size: int
) -> Pictures:
    """Stage 1; leaves a pipeline without masks in ``generator/``. Return the pictures, to go on with."""
    settings = config.generator
    prompt = UAPrompt(split.anomaly_types, config.prompt.normal_tokens, config.prompt.anomaly_tokens)
    embedding = add_prompt_tokens(
        models.tokenizer, models.text_encoder, prompt, config.prompt.normal_word, config.prompt.anomaly_word
    )
    torch.manual_seed(config.seed)
    module = GeneratorModule(models, prompt, embedding, config, size)
    updates = count_updates(settings, len(prompt.anomaly_types))
    sides = _sides(config, split, size)
    pictures = read_pictures(split, normals, config.data, size, sides, config.seed)
    pipe = _pipeline(config, models, prompt, size, sides)
    pipe.references, pipe.few_shot = read_references(normals, pipe, config), read_few_shot(split, pipe, config)
    rows = generator_rows(pipe, pictures, config)
    fit(
        module,
        _data(config, pictures, settings, updates, config.seed),
        config,
        "generator",
        updates,
        settings.accumulate,
        PreviewGrid(config.output / "previews", "generator", config.preview_every, rows),
        ema_decay=settings.ema_decay,
        gradient_clip=settings.gradient_clip,
    )
    merge_prompt_tokens(models.text_encoder)
    pipe.to("cpu")
    with atomic_folder(config.output / "generator") as folder:
        pipe.save_pretrained(folder)
    return pictures


def _train_masks(
    config: FineTuneConfig, split: FewShotSplit, normals: tuple[Path, ...], pictures: Pictures | None
) -> None:
    """Stage 2, from ``generator/`` alone; leaves the finished pipeline in ``model/``."""
    settings = config.masks
    pipe = SeaSPipeline.from_pretrained(config.output / "generator")
    if pictures is None:
        size, sides = int(pipe.config.image_size), tuple(pipe.config.windows)
        pictures = read_pictures(split, normals, config.data, size, sides, config.seed)
    torch.manual_seed(config.seed + 1)
    module = MaskModule(pipe, config)
    updates = count_updates(settings, len(pipe.anomaly_types))
    pipe.mask_predictor = module.predictor
    fit(
        module,
        _data(config, pictures, settings, updates, config.seed + 1),
        config,
        "masks",
        updates,
        settings.accumulate,
        PreviewGrid(config.output / "previews", "masks", config.preview_every, mask_rows(pipe, pictures)),
        ema_decay=0.0,
        gradient_clip=settings.gradient_clip,
    )
    pipe.to("cpu")
    finished = _with_masks(pipe, module)
    finished.references, finished.few_shot = pipe.references, pipe.few_shot
    with atomic_folder(config.output / "model") as folder:
        finished.save_pretrained(folder)


def _data(
    config: FineTuneConfig, pictures: Pictures, settings: GeneratorConfig | MaskConfig, updates: int, seed: int
) -> MakeData:
    """Return what makes a stage's data from the update on that it is continued at."""

    def make(start: int) -> FewShotDataModule:
        begin = start * settings.accumulate
        length = begin + updates * settings.accumulate
        batch = settings.batch_size
        return FewShotDataModule(pictures, config.data, batch, seed, length, begin, variation=settings.variation)

    return make


def _sides(config: FineTuneConfig, split: FewShotSplit, size: int) -> tuple[int, ...]:
    """Return the sizes of windows; none where whole images are squares. The authors' code knows no windows."""
    return () if config.official or config.data.windows == "image" else needed_sides(split, config.data, size)


def _pipeline(
    config: FineTuneConfig, models: BaseModels, prompt: UAPrompt, size: int, sides: tuple[int, ...]
) -> SeaSPipeline:
    return SeaSPipeline(
        vae=models.vae,
        text_encoder=models.text_encoder,
        tokenizer=models.tokenizer,
        unet=models.unet,
        scheduler=solver(models.scheduler),
        mask_predictor=models.mask_predictor,
        ua_prompt=prompt.to_dict(),
        sampling=dataclasses.asdict(config.sampling),
        image_size=size,
        official=config.official,
        base=models.name,
        max_timestep=visited_timesteps(int(models.scheduler.config.num_train_timesteps), config),
        windows=list(sides),
        resize=config.data.resize,
    )


def _with_masks(pipe: SeaSPipeline, module: MaskModule) -> SeaSPipeline:
    """Return the pipeline with its mask predictor registered, so that it is saved."""
    parts = {**pipe.components, "mask_predictor": module.predictor.eval()}
    names = ("ua_prompt", "sampling", "image_size", "official", "base", "max_timestep", "windows", "resize")
    return SeaSPipeline(**parts, **{name: pipe.config[name] for name in names})


def read_references(normals: tuple[Path, ...], pipe: SeaSPipeline, config: FineTuneConfig) -> References:
    """Return the normal images that generated ones will be drawn on: files as they are, or squares of whole images."""
    if pipe.config.windows:
        return FileReferences(normals)
    files = tqdm(normals, desc="reading normal images", disable=len(normals) < 500)
    squares = [load_image(path, pipe.config.image_size, config.data.resize) for path in files]
    return ArrayReferences([square.permute(1, 2, 0).numpy() for square in squares], [str(path) for path in normals])


def read_few_shot(split: FewShotSplit, pipe: SeaSPipeline, config: FineTuneConfig) -> FewShotDefects | None:
    """Return the defects whose shapes and texture generated images may start from; None where none do."""
    types = tuple(sample.anomaly_type for sample in split.samples)
    names = tuple(str(sample.image) for sample in split.samples)
    if pipe.config.windows:
        images = FilePictures([sample.image for sample in split.samples], read_rgb)
        masks = FilePictures([sample.mask for sample in split.samples], read_mask)
        return FewShotDefects(images, masks, types, names, config.data.rotate, config.data.flip)
    if config.official or not config.sampling.copied_share:
        return None
    size, resize = pipe.config.image_size, config.data.resize
    squares = torch.stack([load_image(sample.image, size, resize) for sample in split.samples])
    marked = torch.stack([load_mask(sample.mask, size, resize) for sample in split.samples])[:, 0]
    pixels = squares.permute(0, 2, 3, 1).contiguous().numpy()
    return FewShotDefects(pixels, marked.numpy(), types, names, config.data.rotate, config.data.flip)
