# SPDX-License-Identifier: Apache-2.0
"""``seas-aug finetune``: data -> generator -> masks -> model folder. Stopped anywhere, it goes on from there."""

from __future__ import annotations

import dataclasses
import gc
import logging
from pathlib import Path

import torch
import yaml
from tqdm import tqdm

from seas_aug.artifact.atomic import atomic_folder, atomic_write_text
from seas_aug.artifact.lock import only_writer
from seas_aug.artifact.record import Record, write_record
from seas_aug.base.load import BaseModels, load_base, resolve_base
from seas_aug.config import DrawConfig, FineTuneConfig, GeneratorConfig, MaskConfig, as_plain
from seas_aug.data.category import Category, read_mvtec_folder
from seas_aug.data.datamodule import FewShotDataModule
from seas_aug.data.decode import read_mask, read_rgb
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.images import check_category_images, load_image, load_mask
from seas_aug.data.pictures import Pictures, needed_sides, read_pictures
from seas_aug.data.selection import select
from seas_aug.data.split_file import save_split
from seas_aug.draw.few_shot import FewShotDefects, FilePictures
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.references import ArrayReferences, FileReferences, References
from seas_aug.draw.sample import solver
from seas_aug.errors import SeasError
from seas_aug.finetune.batches import is_out_of_memory, with_smaller_batches
from seas_aug.finetune.generator_module import GeneratorModule, visited_timesteps
from seas_aug.finetune.mask_module import MaskModule, mask_timesteps
from seas_aug.finetune.optimiser import count_updates
from seas_aug.finetune.preview import PreviewGrid
from seas_aug.finetune.preview_rows import generator_rows, mask_rows
from seas_aug.finetune.run_folder import (
    check_same,
    is_finished,
    is_model,
    is_stale,
    made_from,
    remove_intermediate,
    tidy,
)
from seas_aug.finetune.training import MakeData, fit
from seas_aug.latents.prediction import is_inpainting
from seas_aug.prompt.embedding import add_prompt_tokens, merge_prompt_tokens
from seas_aug.prompt.ua_prompt import UAPrompt

logger = logging.getLogger(__name__)
_LARGE, _HIGHEST_RATE = 10**8, 1e-4  # weights of a U-Net that is not to be trained as fast as a small one


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
    category = read_category(config)
    selection = select(category, str(config.data.few_shot), config.data.groups, config.data.num_normals)
    split, normals = selection.split, selection.normals
    if not is_finished(config.output):
        check_category_images(split, normals)
    record = made_from(config, split, normals)
    check_same(config.output, record)
    stale = is_stale(config.output / "split.json", split)
    if stale or not is_finished(config.output):
        with only_writer(config.output, "fine-tuning"):
            tidy(config.output)
            check_same(config.output, record)  # what another process has done meanwhile
            if stale:
                save_split(config.output / "split.json", split, normals)
            if not is_model(config.output / "model"):
                _train_within_memory(config, split, normals, record)
            remove_intermediate(config.output)
    return config.output / "model"


def _train_within_memory(
    config: FineTuneConfig, split: FewShotSplit, normals: tuple[Path, ...], record: Record
) -> None:
    """Train with as large micro-batches as the memory holds.

    An update learns from as many images as before, but for the first one after the change, which may see fewer:
    Lightning accumulates by the number of the batch.

    Raises:
        SeasError: not even one image at a time fits.
    """
    while True:
        try:
            return _train(config, split, normals, record)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the block, so that the failed attempt is not held by its error.
        gc.collect()
        torch.cuda.empty_cache()
        config = with_smaller_batches(config)
        generator, masks = config.generator, config.masks
        logger.warning(
            "out of memory; going on with micro-batches of %d (generator) and %d (masks), %d and %d of them an update.",
            *(generator.batch_size, masks.batch_size, generator.accumulate, masks.accumulate),
        )


def _train(config: FineTuneConfig, split: FewShotSplit, normals: tuple[Path, ...], record: Record) -> None:
    """Do what is left of both stages."""
    pictures = None
    if not is_model(config.output / "generator"):
        models = load_base(config.base)
        check_rates(config, models)
        check_official(config, models)
        size = _image_size(config, models)
        # Only now: a refused first attempt leaves no settings behind that the corrected one would differ from.
        atomic_write_text(config.output / "config.yaml", yaml.safe_dump(as_plain(config), sort_keys=False))
        save_split(config.output / "split.json", split, normals)
        write_record(config.output, record)
        pictures = _train_generator(config, models, split, normals, size)
    _train_masks(config, split, normals, pictures)


def read_category(config: FineTuneConfig) -> Category:
    """Return the images that the settings name: an MVTec-layout folder or an anomalib datamodule."""
    if config.data.datamodule is not None:
        from seas_aug.data.anomalib_source import read_anomalib_datamodule

        return read_anomalib_datamodule(config.data.datamodule)
    if config.data.root is None:
        message = "no data was given; pass --data.root FOLDER (train/good, test/<type>, ground_truth/<type>)."
        raise SeasError(message)
    return read_mvtec_folder(Path(config.data.root))


def check_rates(config: FineTuneConfig, models: BaseModels) -> None:
    """Refuse rates of a small base for a large pretrained one, of which they would leave nothing.

    Raises:
        SeasError: the U-Net has more than 10^8 weights, and a rate of 10^-4 or more.
    """
    size = sum(part.numel() for part in models.unet.parameters())
    if size > _LARGE and config.generator.unet_lr >= _HIGHEST_RATE:
        message = (
            f"generator.unet_lr is {config.generator.unet_lr:g}, a rate for the small embedded base, and the U-Net of "
            f"{config.base} has {size / 1e6:.0f} million weights; give --preset paper (4e-06), or a rate below "
            f"{_HIGHEST_RATE:g}."
        )
        raise SeasError(message)


def check_official(config: FineTuneConfig, models: BaseModels) -> None:
    """Refuse the authors' arithmetic for bases that it knows nothing of.

    Raises:
        SeasError: ``official``, and a base that predicts velocity or fills holes.
    """
    kind = models.scheduler.config.prediction_type
    if config.official and (kind != "epsilon" or is_inpainting(models.unet)):
        what = "fills holes" if is_inpainting(models.unet) else f"predicts {kind}"
        message = f"official calculates with text-to-image models that predict noise, and {config.base} {what}; give "
        raise SeasError(message + "another base, or leave it out.")


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
    words = config.prompt
    embedding = add_prompt_tokens(
        models.tokenizer, models.text_encoder, prompt, words.normal_word, words.anomaly_word, words.by_name
    )
    torch.manual_seed(config.seed)
    module = GeneratorModule(models, prompt, embedding, config, size)
    updates = count_updates(settings, len(prompt.anomaly_types))
    sides = _sides(config, split, size)
    pictures = read_pictures(split, normals, config.data, size, sides, config.seed)
    pipe = _pipeline(config, models, prompt, size, sides)
    pipe.references, pipe.few_shot = read_references(normals, pipe, config), read_few_shot(split, pipe, config)
    pipe.check(DrawConfig())  # settings of sampling that cannot be, before the hours and not after them
    rows = generator_rows(pipe, pictures, config)
    fit(
        module,
        _data(config, pictures, settings, updates, config.seed, twins=is_inpainting(models.unet)),
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
    config: FineTuneConfig,
    pictures: Pictures,
    settings: GeneratorConfig | MaskConfig,
    updates: int,
    seed: int,
    twins: bool = False,
) -> MakeData:
    """Return what makes a stage's data from the update on that it is continued at."""

    def make(start: int) -> FewShotDataModule:
        begin = start * settings.accumulate
        length = begin + updates * settings.accumulate
        batch = settings.batch_size
        return FewShotDataModule(pictures, config.data, batch, seed, length, begin, settings.variation, twins)

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
        scheduler=solver(models.scheduler, config.official),
        mask_predictor=models.mask_predictor,
        ua_prompt=prompt.to_dict(),
        sampling=dataclasses.asdict(config.sampling),
        image_size=size,
        official=config.official,
        base=models.name,
        max_timestep=visited_timesteps(
            int(models.scheduler.config.num_train_timesteps), config, is_inpainting(models.unet)
        ),
        max_mask_timestep=mask_timesteps(int(models.scheduler.config.num_train_timesteps), config),
        windows=list(sides),
        resize=config.data.resize,
    )


def _with_masks(pipe: SeaSPipeline, module: MaskModule) -> SeaSPipeline:
    """Return the pipeline with its mask predictor registered, so that it is saved."""
    parts = {**pipe.components, "mask_predictor": module.predictor.eval()}
    settings = {name: value for name, value in pipe.config.items() if not (name.startswith("_") or name in parts)}
    return SeaSPipeline(**parts, **settings)


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
    if config.official or not (config.sampling.copied_share or config.sampling.fill == "hole"):
        return None
    size, resize = pipe.config.image_size, config.data.resize
    squares = torch.stack([load_image(sample.image, size, resize) for sample in split.samples])
    marked = torch.stack([load_mask(sample.mask, size, resize) for sample in split.samples])[:, 0]
    pixels = squares.permute(0, 2, 3, 1).contiguous().numpy()
    return FewShotDefects(pixels, marked.numpy(), types, names, config.data.rotate, config.data.flip)
