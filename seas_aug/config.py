# SPDX-License-Identifier: Apache-2.0
"""Every setting of the method, with the reason for its default.

The values named "paper" are the published ones for Stable Diffusion v1-4 at 512 px; the plain defaults are those of the
embedded base. Nothing here imports torch, so that the command line can print its help quickly.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from seas_aug.errors import SeasError

Resize = Literal["squash", "crop"]
LrSchedule = Literal["cosine", "constant"]
GuidanceFrom = Literal["normal", "empty"]
Background = Literal["reference", "generated"]
MaskLoss = Literal["cross_entropy_dice", "focal"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise SeasError(message)


@dataclass(frozen=True)
class DataConfig:
    """Where the images are and how they become squares.

    Args:
        root: category folder in MVTec layout (``train/good``, ``test/<type>``, ``ground_truth/<type>``).
        datamodule: instead of ``root``, an anomalib datamodule as ``{"class_path": ..., "init_args": {...}}``.
        few_shot: which defect images are fine-tuned on. A number in (0, 1] takes that leading fraction of each type by
            name (1/3 is the paper's protocol), a whole number above 1 so many of each; a file is a ``split.json`` of
            ``{type: {"few_shot": [names]}}``.
        groups: CSV with the columns ``folder,file,group``; a group is never divided between few-shot and the rest.
        image_size: side of the square in pixels; None takes the base's native size.
        resize: ``squash`` scales both sides so that no defect is cut away; ``crop`` is the paper's resize and centre
            crop.
        rotate: draw a rotation of 0, 90, 180 or 270 degrees (paper section 4.1). Off, because generated images start
            from upright references and a small base then mixes the directions of a grain; switch it on for products
            that lie in any direction.
        flip: draw no flip, a horizontal or a vertical one.
        num_normals: how many normal images are used, evenly spread over the sorted list; None takes all of them.
        num_workers: data loading processes. Decoded images are cached, so none are needed for small sets.
    """

    root: Path | None = None
    datamodule: dict[str, Any] | None = None
    few_shot: str | float = "0.3333"
    groups: Path | None = None
    image_size: int | None = None
    resize: Resize = "squash"
    rotate: bool = False
    flip: bool = True
    num_normals: int | None = None
    num_workers: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "few_shot", str(self.few_shot))  # YAML reads 0.4 as a number


@dataclass(frozen=True)
class PromptConfig:
    """Unbalanced Abnormal (UA) prompt: how many new tokens describe the product and each anomaly type.

    Args:
        normal_tokens: tokens of the product, shared by normal and anomaly prompt (paper: 1).
        anomaly_tokens: tokens of each anomaly type (paper: 4).
        normal_word: word whose embedding the normal tokens start from.
        anomaly_word: word whose embedding the anomaly tokens start from.
    """

    normal_tokens: int = 1
    anomaly_tokens: int = 4
    normal_word: str = "object"
    anomaly_word: str = "defect"

    def __post_init__(self) -> None:
        _check(self.normal_tokens >= 1, f"prompt.normal_tokens is {self.normal_tokens}; give at least 1.")
        _check(self.anomaly_tokens >= 1, f"prompt.anomaly_tokens is {self.anomaly_tokens}; give at least 1.")


@dataclass(frozen=True)
class AttentionConfig:
    """Which cross-attention maps the Decoupled Anomaly Alignment (DA) loss reads.

    Args:
        resolutions: side of the maps in latent pixels; 32 and 16 as in the paper.
        include_up_blocks: also read the up blocks, as the paper's text does. The authors' code reads the down blocks
            twice instead, which is what produced the published results. On, because the first down blocks of a small
            base see little of the image around a pixel.
    """

    resolutions: tuple[int, ...] = (32, 16)
    include_up_blocks: bool = True


@dataclass(frozen=True)
class VariationConfig:
    """How training images are varied, so that a few dozen are not learnt by heart (paper: they are only turned).

    Args:
        paste_share: share of the anomaly images whose defect is copied onto another, normal image.
        zoom_share: share of the images of which a random part is enlarged to the full size.
        smallest_zoom: least height and width of that part, each a share of the whole.
        warp_share: share of the images that are turned, sheared and bent a little. Off, because it blurs masks of
            cracks that are a pixel wide.
        move: put a copied defect anywhere on the normal image; one at the border stays at that border.
        light: change gamma, brightness, contrast and shading. Defects differ from their surroundings under any lamp.
    """

    paste_share: float = 0.5
    zoom_share: float = 0.6
    smallest_zoom: float = 0.7
    warp_share: float = 0.0
    move: bool = True
    light: bool = True

    def __post_init__(self) -> None:
        for name in ("paste_share", "zoom_share", "warp_share"):
            value = getattr(self, name)
            _check(0 <= value <= 1, f"{name} of variation is {value}; give a number from 0 to 1.")
        _check(
            0 < self.smallest_zoom <= 1,
            f"smallest_zoom of variation is {self.smallest_zoom}; give a number above 0 and up to 1.",
        )

    @property
    def varies(self) -> bool:
        """Whether anything is varied at all."""
        return self.light or max(self.paste_share, self.zoom_share, self.warp_share) > 0


@dataclass(frozen=True)
class GeneratorConfig:
    """Stage 1: fine-tune U-Net and new token embeddings with L_SD + L_NA + L_DA.

    Args:
        steps_per_type: optimiser updates per anomaly type (paper: 800 on Stable Diffusion).
        min_steps: fewest updates, however few types there are: one type alone has the whole product to learn too
            (paper: none).
        max_steps: total updates; None takes ``steps_per_type x number of types``, at least ``min_steps``.
        batch_size: anomaly images per update, with as many normal ones beside them (paper: 2 x accumulation 2).
        accumulate: gradient accumulation.
        unet_lr: learning rate of all U-Net weights. A small base with few pretraining steps moves faster than
            Stable Diffusion (paper: 4e-6).
        embedding_lr: learning rate of the new embedding rows (paper: 4e-5).
        lr_schedule: ``cosine`` lets both rates fall to zero at the end, which gets more out of few updates; the paper's
            are ``constant``.
        da_weight: weight of the DA loss (paper: 1).
        na_weight: weight of the Normal-image Alignment (NA) loss (paper: 1).
        prompt_dropout: share of the normal images' prompts replaced by the empty one, so that the run can be sampled
            with ``guidance_from: empty`` too (paper: 0).
        low_noise_share: share of the anomaly images that are noised only below ``masks.max_timestep``. In the small
            latents of the embedded base a thin defect drowns at a noise that Stable Diffusion still sees through, so
            that its attention would hardly ever have anything to find (paper: 0).
        defect_weight: how many times more than other pixels those of a defect count in the noise loss (paper: 0). A
            crack covers a hundredth of an image, and a small base with few updates else leaves it out.
        limit_timesteps: leave out timesteps above ``sampling.strength`` and ``copied_strength``, where sampling never
            comes (paper: not).
        weight_decay: AdamW weight decay (paper: 0.01).
        ema_decay: exponential moving average of the trained weights; 0 switches it off (paper: 0).
        gradient_clip: largest gradient norm; 0 switches it off (paper: 0).
        variation: half of the defects are copied onto another, normal image, which shows the U-Net what belongs to the
            defect and what to the image around it. No zoom and no other light: it is to draw the product as it is.
    """

    steps_per_type: int = 250
    min_steps: int = 600
    max_steps: int | None = None
    batch_size: int = 4
    accumulate: int = 1
    unet_lr: float = 5e-4
    embedding_lr: float = 2e-3
    lr_schedule: LrSchedule = "cosine"
    da_weight: float = 1.0
    na_weight: float = 1.0
    prompt_dropout: float = 0.1
    low_noise_share: float = 0.35
    defect_weight: float = 4.0
    limit_timesteps: bool = True
    weight_decay: float = 0.01
    ema_decay: float = 0.995
    gradient_clip: float = 1.0
    variation: VariationConfig = field(default_factory=lambda: VariationConfig(0.5, 0.0, move=False, light=False))


@dataclass(frozen=True)
class MaskConfig:
    """Stage 2: train Refined Mask Prediction (RMP) on the frozen generator.

    Args:
        steps_per_type: updates per anomaly type (paper: 800).
        min_steps: fewest updates, however few types there are: one type alone has the whole product to learn too
            (paper: none).
        max_steps: total updates; None takes ``steps_per_type x number of types``, at least ``min_steps``.
        batch_size: anomaly images per update.
        feature_batch_size: of how many of them, and of as large a share of the normals, masks are predicted from the
            generator's features too; None means all (paper). The detail branch, which needs images only, learns from
            many times as many in the same time.
        feature_every: updates from one with masks from the generator's features to the next (paper: 1, every update).
            The others train the detail branch alone, which needs no pass through U-Net and autoencoder.
        normal_batch_size: at most so many normal images beside them; None takes ``batch_size`` (paper). Few, because
            most of every anomaly image is normal too.
        accumulate: gradient accumulation.
        lr: learning rate (paper: 5e-4; higher here because a CPU affords few updates).
        lr_schedule: as in the generator (paper: ``constant``).
        max_timestep: noise is drawn up to this timestep, because masks are only read at the end of sampling (200 is
            recommended for Stable Diffusion; the authors' code trains on all 1000). Lower here: the small latents of
            the embedded base show a thin defect only at little noise.
        channels: width of the mask branch; None takes 192 as in the paper, limited by the U-Net's own width. Few are
            enough beside a detail branch, and cost little at full resolution.
        detail_width: width of the detail branch, which finds in the finished image what the small latents of the
            embedded base do not show; 0 leaves it out (paper).
        loss: ``cross_entropy_dice`` counts a defect of ten pixels like one of a thousand; ``focal`` is the paper's.
        from_base: go on from those parts of the base's mask predictor that have this size. The embedded
            base's has seen thousands of rendered defects (paper: starts from nothing).
        attention_blocks: transformer blocks of the coarse branch (paper: 4; 2 halve the cost on a CPU).
        weight_decay: AdamW weight decay (paper: 0.01).
        gradient_clip: largest gradient norm; 0 switches it off (paper: 0).
        variation: how the images are varied.
    """

    steps_per_type: int = 400
    min_steps: int = 1000
    max_steps: int | None = None
    batch_size: int = 10
    feature_batch_size: int | None = 2
    feature_every: int = 3
    normal_batch_size: int | None = 4
    accumulate: int = 1
    lr: float = 3e-3
    lr_schedule: LrSchedule = "cosine"
    max_timestep: int = 110
    channels: int | None = 24
    detail_width: int = 16
    attention_blocks: int = 2
    loss: MaskLoss = "cross_entropy_dice"
    from_base: bool = True
    weight_decay: float = 0.05
    gradient_clip: float = 1.0
    variation: VariationConfig = field(default_factory=VariationConfig)


@dataclass(frozen=True)
class SamplingConfig:
    """How images are drawn.

    Args:
        num_inference_steps: DPM-Solver++ steps (paper: 25; 15-20 are enough for this solver).
        guidance_scale: classifier-free guidance (paper: 8 for MVTec AD, 2 for VisA, 5 for MVTec 3D).
        guidance_from: what the guidance leads away from. ``normal``, the product's normal prompt: both sides know the
            product, so that their difference is the defect alone. ``empty``, the empty prompt (paper).
        strength: share of the noise that the reference normal starts with; 1 starts from almost pure noise as the
            paper does, lower values keep more of the reference outside the defect. Normal images, and defects that are
            not copied, start so; above 0.4 the embedded base draws blotches instead of a grain.
        copied_share: share of the defect images that start from the reference with a few-shot defect copied onto it,
            mirrored (and turned, with ``data.rotate``) and enlarged at random, in place of the reference alone (paper:
            0). A small base cannot invent a crack out of noise: it draws blotches there, while a copied defect it draws
            anew.
        copied_strength: strength of those images; more, and the embedded base loses the defect and the grain.
        mask_threshold: probability above which a pixel belongs to the defect (paper: 0.2, which makes up for masks that
            the authors' code shrinks by an integer cast, which the code here does not).
        mask_steps: the mask is the mean over this many last steps (paper: 3; at 20 steps the last two lie at the
            timesteps 100 and 50, where thin defects can be seen in small latents).
        background: ``reference`` puts the real normal image back around the mask, so that only the defect is generated;
            ``generated`` leaves the whole image as it was drawn (paper). The embedded base smooths a fine grain.
        max_retries: a pair whose mask came out empty is drawn again with the next seed of its own sequence.
    """

    num_inference_steps: int = 20
    guidance_scale: float = 3.0
    guidance_from: GuidanceFrom = "normal"
    strength: float = 0.4
    copied_share: float = 1.0
    copied_strength: float = 0.15
    mask_threshold: float = 0.3
    mask_steps: int = 2
    background: Background = "reference"
    max_retries: int = 20

    def __post_init__(self) -> None:
        for name in ("strength", "copied_strength"):
            value = getattr(self, name)
            _check(0 < value <= 1, f"sampling.{name} is {value}; give a number above 0 and up to 1.")
        _check(0 <= self.copied_share <= 1, f"sampling.copied_share is {self.copied_share}; give a number from 0 to 1.")
        for name, known in (("guidance_from", ("normal", "empty")), ("background", ("reference", "generated"))):
            value = getattr(self, name)
            _check(value in known, f"sampling.{name} is {value!r}; give {known[0]!r} or {known[1]!r}.")
        _check(
            self.num_inference_steps >= self.mask_steps >= 1,
            f"sampling.mask_steps is {self.mask_steps} of {self.num_inference_steps} steps; give 1 or more, and not "
            "more than num_inference_steps.",
        )


@dataclass(frozen=True)
class FineTuneConfig:
    """Everything ``seas-aug finetune`` needs; saved as ``config.yaml`` in the run folder.

    Args:
        output: run folder; an unfinished run in it is continued.
        base: ``embedded``, a local diffusers folder, or a hub id such as ``CompVis/stable-diffusion-v1-4``.
        seed: seed of everything random in fine-tuning.
        official: turn on the four numeric quirks of the authors' code together (down-block maps counted twice,
            batch-global min-max, unscaled reference latent noised on a 1500-step schedule, mask branch with batch
            statistics), to compare with their results. Two settings follow from that: the start from almost pure noise
            needs all timesteps, and a mask branch with batch statistics cannot go on from the base's. For a comparison
            of the quirks alone give both runs ``generator.limit_timesteps: false`` and ``masks.from_base: false``.
        precision: Lightning precision; None takes bf16-mixed where the hardware has it.
        accelerator: Lightning accelerator.
        devices: Lightning devices.
        preview_every: optimiser updates between preview grids; 0 switches them off.
        checkpoint_every: optimiser updates between checkpoints.
    """

    output: Path = Path("runs/seas")
    base: str = "embedded"
    seed: int = 0
    official: bool = False
    precision: Precision | None = None
    accelerator: str = "auto"
    devices: int | str = 1
    preview_every: int = 500
    checkpoint_every: int = 100
    data: DataConfig = field(default_factory=DataConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)


def as_plain(config: Any) -> dict[str, Any]:
    """Return a dataclass as nested dicts of plain values (paths become text), ready for YAML or JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return plain(dataclasses.asdict(config))
