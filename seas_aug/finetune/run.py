# SPDX-License-Identifier: Apache-2.0
"""``seas-aug finetune``: data -> generator -> masks -> model folder. Stopped anywhere, it goes on from there."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from seas_aug.atomic import atomic_folder, atomic_write_text, recover_folder
from seas_aug.base.load import BaseModels, load_base
from seas_aug.config import FineTuneConfig, as_plain
from seas_aug.data.category import Category, read_mvtec_folder
from seas_aug.data.datamodule import FewShotDataModule, choose_normals
from seas_aug.data.few_shot import FewShotSplit, select_few_shot
from seas_aug.data.images import check_category_images, load_image
from seas_aug.data.split_file import save_split
from seas_aug.errors import SeasError
from seas_aug.finetune.generator_module import GeneratorModule
from seas_aug.finetune.mask_module import MaskModule
from seas_aug.finetune.preview import PreviewGrid
from seas_aug.finetune.preview_rows import generator_rows, mask_rows
from seas_aug.finetune.training import fit
from seas_aug.pipeline.references import References
from seas_aug.pipeline.seas_pipeline import SeaSPipeline, solver
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
        SeasError: any mistake in data or settings, or an output folder that holds a run with other settings.
    """
    output = Path(config.output)
    model = output / "model"
    recover_folder(model)
    recover_folder(output / "generator")
    category = read_category(config)
    split = select_few_shot(category, config.data.few_shot, config.data.groups)
    normals = choose_normals(category.normals, config.data.num_normals)
    _start_or_continue(config, output)
    if (model / "model_index.json").is_file():
        return model
    check_category_images(split, normals)
    models = load_base(config.base)
    size = _image_size(config, models)
    save_split(output / "split.json", split, normals)
    if not (output / "generator" / "model_index.json").is_file():
        _train_generator(config, models, split, normals, size)
    _train_masks(config, split, normals, size)
    shutil.rmtree(output / "generator", ignore_errors=True)
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
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


def _start_or_continue(config: FineTuneConfig, output: Path) -> None:
    """Write the settings of a new run, or check that they are those of the run being continued."""
    path = output / "config.yaml"
    wanted = {key: value for key, value in as_plain(config).items() if key not in _FREE_SETTINGS}
    if path.is_file():
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        different = [key for key in wanted if found.get(key) != wanted[key]]
        if different:
            key = different[0]
            message = (
                f"{output} holds a run with other settings ({key}: {found.get(key)} there, {wanted[key]} asked for); "
                "choose another --output, or delete that folder to start anew."
            )
            raise SeasError(message)
        return
    output.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, yaml.safe_dump(as_plain(config), sort_keys=False))


def _image_size(config: FineTuneConfig, models: BaseModels) -> int:
    from seas_aug.base.latents import latent_scale

    size = config.data.image_size or models.image_size
    factor = latent_scale(models.vae) * 2 ** (len(models.unet.config.block_out_channels) - 1)
    if size % factor:
        message = f"data.image_size is {size}; this base needs a multiple of {factor}, such as {models.image_size}."
        raise SeasError(message)
    return size


def _train_generator(
    config: FineTuneConfig, models: BaseModels, split: FewShotSplit, normals: tuple[Path, ...], size: int
) -> None:
    """Stage 1; leaves a pipeline without masks in ``generator/``."""
    settings = config.generator
    prompt = UAPrompt(split.anomaly_types, config.prompt.normal_tokens, config.prompt.anomaly_tokens)
    embedding = add_prompt_tokens(
        models.tokenizer, models.text_encoder, prompt, config.prompt.normal_word, config.prompt.anomaly_word
    )
    torch.manual_seed(config.seed)
    module = GeneratorModule(models, prompt, embedding, config, size)
    updates = _updates(settings, prompt)
    pipe = _pipeline(config, models, prompt, size)
    pipe.references = read_references(normals, size, config)
    rows = generator_rows(pipe, split, config, size)
    fit(
        module,
        lambda start: FewShotDataModule(
            split,
            normals,
            config.data,
            size,
            settings.batch_size,
            config.seed,
            num_steps=updates * settings.accumulate,
            start_step=start * settings.accumulate,
        ),
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


def _train_masks(config: FineTuneConfig, split: FewShotSplit, normals: tuple[Path, ...], size: int) -> None:
    """Stage 2; leaves the finished pipeline in ``model/``."""
    settings = config.masks
    pipe = SeaSPipeline.from_pretrained(config.output / "generator")
    torch.manual_seed(config.seed + 1)
    module = MaskModule(pipe, config)
    updates = _updates(settings, pipe.prompt)
    pipe.mask_predictor = module.predictor
    fit(
        module,
        lambda start: FewShotDataModule(
            split,
            normals,
            config.data,
            size,
            settings.batch_size,
            config.seed + 1,
            num_steps=updates * settings.accumulate,
            start_step=start * settings.accumulate,
        ),
        config,
        "masks",
        updates,
        settings.accumulate,
        PreviewGrid(config.output / "previews", "masks", config.preview_every, mask_rows(pipe, split, config, size)),
        ema_decay=0.0,
        gradient_clip=1.0,
    )
    pipe.to("cpu")
    references = pipe.references
    finished = _with_masks(pipe, module)
    finished.references = references
    with atomic_folder(config.output / "model") as folder:
        finished.save_pretrained(folder)


def _updates(settings: Any, prompt: UAPrompt) -> int:
    """Return the optimiser updates of a stage: fixed, or from the number of types (paper: 800 x types)."""
    updates = settings.max_steps or settings.steps_per_type * len(prompt.anomaly_types)
    if updates < 1:
        message = f"max_steps is {updates}; give 1 or more."
        raise SeasError(message)
    return int(updates)


def _pipeline(config: FineTuneConfig, models: BaseModels, prompt: UAPrompt, size: int) -> SeaSPipeline:
    return SeaSPipeline(
        vae=models.vae,
        text_encoder=models.text_encoder,
        tokenizer=models.tokenizer,
        unet=models.unet,
        scheduler=solver(models.scheduler),
        ua_prompt=prompt.to_dict(),
        sampling=dataclasses.asdict(config.sampling),
        image_size=size,
        official=config.official,
        base=models.name,
    )


def _with_masks(pipe: SeaSPipeline, module: MaskModule) -> SeaSPipeline:
    """Return the pipeline with its mask predictor registered, so that it is saved."""
    parts = {**pipe.components, "mask_predictor": module.predictor.eval()}
    names = ("ua_prompt", "sampling", "image_size", "official", "base")
    return SeaSPipeline(**parts, **{name: pipe.config[name] for name in names})


def read_references(normals: tuple[Path, ...], size: int, config: FineTuneConfig) -> References:
    """Read the normal images that generated ones will start from."""
    files = tqdm(normals, desc="reading normal images", disable=len(normals) < 500)
    images = torch.stack([load_image(path, size, config.data.resize) for path in files])
    return References(images, tuple(str(path) for path in normals))
