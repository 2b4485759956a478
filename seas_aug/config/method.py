# SPDX-License-Identifier: Apache-2.0
"""Settings of the method: prompt, attention, and the two stages of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from seas_aug.config.check import check
from seas_aug.config.data import VariationConfig

LrSchedule = Literal["cosine", "constant"]
MaskLoss = Literal["cross_entropy_dice", "focal"]


@dataclass(frozen=True)
class PromptConfig:
    """Unbalanced Abnormal (UA) prompt: how many new tokens describe the product and each anomaly type.

    Args:
        normal_tokens: tokens of the product, shared by normal and anomaly prompt (paper: 1).
        anomaly_tokens: tokens of each anomaly type (paper: 4).
        normal_word: word whose embedding the normal tokens start from.
        anomaly_word: word whose embedding the anomaly tokens start from.
        by_name: the tokens of a type start from the words of its name that the base knows (``blowhole`` from ``hole``),
            those of other types a little apart, so that prompts differ from the first update on. Off, as in the paper,
            where all types start equal.
    """

    normal_tokens: int = 1
    anomaly_tokens: int = 4
    normal_word: str = "object"
    anomaly_word: str = "defect"
    by_name: bool = False

    def __post_init__(self) -> None:
        check(self.normal_tokens >= 1, f"prompt.normal_tokens is {self.normal_tokens}; give at least 1.")
        check(self.anomaly_tokens >= 1, f"prompt.anomaly_tokens is {self.anomaly_tokens}; give at least 1.")


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
class HoleConfig:
    """Which holes an inpainting base is trained on, in shares of all holes; the rest tells the exact shape.

    Where the exact shape is always given, a network reads the type off the shape and ignores the prompt; and where the
    hole tells where the defect lies, whatever reads the network's features learns to hand the hole's outline through.

    Args:
        coarse: boxes and ellipses around the shape.
        whole: whole pictures, in which the prompt alone decides, as in the paper. There the DA loss applies.
        seen: share of the holes, the whole ones left out, in which the reference is shown, so that the defect is drawn
            onto its texture; in the others it is hidden, as in Stable Diffusion's inpainting checkpoints.
    """

    coarse: float = 0.4
    whole: float = 0.15
    seen: float = 0.5

    def __post_init__(self) -> None:
        check(
            min(self.coarse, self.whole) >= 0 and self.coarse + self.whole <= 1 and 0 <= self.seen <= 1,
            f"holes has coarse {self.coarse}, whole {self.whole} and seen {self.seen}; give shares from 0 to 1, the "
            "first two no more than 1 together.",
        )


@dataclass(frozen=True)
class GeneratorConfig:
    """Stage 1: fine-tune U-Net and new token embeddings with L_SD + L_NA + L_DA.

    Args:
        steps_per_type: optimiser updates per anomaly type (paper: 800 on Stable Diffusion). So many that six types take
            two CPU cores about nine minutes.
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
        holes: of an inpainting base: which holes it learns to fill. No other base has any.
        variation: half of the defects are copied onto another, normal image, which shows the U-Net what belongs to the
            defect and what to the image around it. No zoom and no other light: it is to draw the product as it is.
    """

    steps_per_type: int = 150
    min_steps: int = 750
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
    holes: HoleConfig = field(default_factory=HoleConfig)
    variation: VariationConfig = field(default_factory=lambda: VariationConfig(0.5, 0.0, move=False, light=False))


@dataclass(frozen=True)
class MaskConfig:
    """Stage 2: train Refined Mask Prediction (RMP) on the frozen generator.

    Args:
        steps_per_type: updates per anomaly type (paper: 800). So many that six types take two CPU cores about ten
            minutes.
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

    steps_per_type: int = 240
    min_steps: int = 1200
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
