# SPDX-License-Identifier: Apache-2.0
"""SeaSPipeline: generated defect images with exact masks, from one fine-tuned model per product."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler
from safetensors import SafetensorError

from seas_aug.config import SamplingConfig
from seas_aug.errors import SeasError
from seas_aug.pipeline.drawing import Drawing, draw_all
from seas_aug.pipeline.few_shot import FewShotDefects
from seas_aug.pipeline.grey import is_grey
from seas_aug.pipeline.output import PairRecord, SeaSPipelineOutput
from seas_aug.pipeline.references import References
from seas_aug.pipeline.sampler import ImageRequest, SamplerSettings, first_index
from seas_aug.prompt.ua_prompt import UAPrompt

# For the type checker, whom diffusers' own hints lead astray.
_DiffusionPipeline: Any = DiffusionPipeline


class SeaSPipeline(_DiffusionPipeline):
    """One product's generator: ``pipe(anomaly_type="crack", num_images=4, seed=0)``.

    Args:
        vae: autoencoder of the base.
        text_encoder: with the rows of the new tokens.
        tokenizer: with the new tokens.
        unet: fine-tuned noise predictor.
        scheduler: DPM-Solver++.
        mask_predictor: Refined Mask Prediction; without it only normal images can be drawn.
        ua_prompt: :meth:`UAPrompt.to_dict` - which tokens stand for which anomaly type.
        sampling: fields of :class:`~seas_aug.config.SamplingConfig`.
        image_size: side of the images in pixels.
        official: start from the unscaled latent on a 1500-step schedule, as the authors' code does.
        base: name of the base that was fine-tuned.
        max_timestep: it was fine-tuned on noise of timesteps below this one only; None means all.
    """

    _optional_components: ClassVar[list[str]] = ["mask_predictor"]
    model_cpu_offload_seq = "text_encoder->unet->vae"

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        mask_predictor: Any = None,
        ua_prompt: dict[str, Any] | None = None,
        sampling: dict[str, Any] | None = None,
        image_size: int = 512,
        official: bool = False,
        base: str = "",
        max_timestep: int | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            mask_predictor=mask_predictor,
        )
        self.register_to_config(
            ua_prompt=ua_prompt,
            sampling=sampling,
            image_size=image_size,
            official=official,
            base=base,
            max_timestep=max_timestep,
        )
        self.references: References | None = None
        self.few_shot: FewShotDefects | None = None

    @property
    def prompt(self) -> UAPrompt:
        """The Unbalanced Abnormal (UA) prompt with its type -> token table."""
        return UAPrompt.from_dict(self.config.ua_prompt)

    @property
    def anomaly_types(self) -> tuple[str, ...]:
        """Types that can be drawn, in alphabetical order."""
        return self.prompt.anomaly_types

    @property
    def num_references(self) -> int:
        """Number of normal images to start from."""
        return len(self._references())

    @property
    def sampling(self) -> SamplingConfig:
        """Default sampling settings of the run."""
        # The first runs say nothing of these and were made without.
        before = {"guidance_from": "empty", "copied_share": 0.0, "background": "generated"}
        return SamplingConfig(**{**before, **self.config.sampling} if self.config.sampling else {})

    @classmethod
    def from_pretrained(cls, path: str | Path, **kwargs: Any) -> SeaSPipeline:
        """Load a run folder, or the ``model`` folder in it.

        Args:
            path: what ``seas-aug finetune --output`` wrote.
            **kwargs: passed on to diffusers (``torch_dtype``, ...).

        Raises:
            SeasError: there is no fine-tuned model, or it is damaged.
        """
        folder = Path(path)
        folder = folder / "model" if (folder / "model" / "model_index.json").is_file() else folder
        if not (folder / "model_index.json").is_file():
            message = (
                f"{path} holds no fine-tuned model (no model_index.json); give the folder that was the --output of "
                "'seas-aug finetune', after it has finished."
            )
            raise SeasError(message)
        try:
            found = cls.load_config(str(folder)).get("_class_name")
            pipeline = super().from_pretrained(str(folder), **kwargs) if found == cls.__name__ else None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
            message = f"{folder} is damaged ({reason}); fine-tune again or copy the run folder anew."
            raise SeasError(message) from error
        if pipeline is None:
            message = f"{folder} is a base model, not a fine-tuned one; run 'seas-aug finetune --base {folder}' first."
            raise SeasError(message)
        pipeline.references, pipeline.few_shot = References.load(folder), FewShotDefects.load(folder)
        return pipeline

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Write the model as a diffusers folder of safetensors, its reference images and few-shot defects beside it."""
        self._forget_origin()
        super().save_pretrained(str(save_directory), **kwargs)
        if self.references is not None:
            self.references.save(Path(save_directory))
        if self.few_shot is not None:
            self.few_shot.save(Path(save_directory))

    def _forget_origin(self) -> None:
        """Drop what loading and use leave in the parts, so that the same model is saved as the same files."""
        self.register_to_config(_name_or_path=self.config.base)
        for part in self.components.values():
            if hasattr(part, "register_to_config") and "_name_or_path" in part.config:
                part.register_to_config(_name_or_path=self.config.base)
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            backend.no_padding()
            backend.no_truncation()

    @torch.no_grad()
    def __call__(
        self,
        anomaly_type: str | Sequence[str] | None = None,
        num_images: int = 1,
        seed: int = 0,
        batch_size: int = 8,
        references: torch.Tensor | None = None,
        reference_indices: Sequence[int] | None = None,
        seeds: Sequence[int] | None = None,
        strength: float | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        copied_share: float | None = None,
    ) -> SeaSPipelineOutput:
        """Draw images.

        Image ``i`` depends on its seed and its reference only: not on the batch size, nor on the other images (on a CPU
        to the last bit for the same number of threads, on a GPU up to its rounding).

        Args:
            anomaly_type: one type; several types to recombine their tokens (an unseen anomaly); None for normal images.
            num_images: how many, 1 or more.
            seed: image ``i`` takes the seed ``seed + i`` and, unless told otherwise, normal image ``(seed + i) mod N``.
            batch_size: images drawn at once, 1 or more.
            references: own normal images to start from, uint8 ``[M, 3, H, W]`` or float in [0, 1], of the model's size.
            reference_indices: which reference each image starts from.
            seeds: one seed per image, in place of ``seed``.
            strength: of every image, whatever it starts from; None takes the run's own ones
                (:class:`~seas_aug.config.SamplingConfig`), as do the following.
            guidance_scale: classifier-free guidance.
            num_inference_steps: solver steps.
            copied_share: share of the images that start from a copied defect; give 0 with a strength that would leave
                nothing of it, since masks lie near the copies.

        Returns:
            Images, masks, references and records, in order.

        Raises:
            SeasError: an unknown type, a setting out of range, no mask predictor, or a mask that stays empty.
        """
        chosen = self._chosen_sampling(strength, guidance_scale, num_inference_steps, copied_share)
        settings = self._settings_of(chosen)
        bank = self._references() if references is None else _as_references(references, self.config.image_size)
        types = (anomaly_type,) if isinstance(anomaly_type, str) else tuple(anomaly_type or ())
        prompt = self.prompt.anomaly_prompt(*types) if types else self.prompt.normal_prompt()
        if types and self.mask_predictor is None:
            message = "this model has no mask predictor, so it draws no defects; finish 'seas-aug finetune' first."
            raise SeasError(message)
        # Plain integers, since a seed is derived from how they are written.
        image_seeds = [int(value) for value in (range(seed, seed + num_images) if seeds is None else seeds)]
        chosen_references = [value % len(bank) for value in image_seeds]
        indices = chosen_references if reference_indices is None else [int(value) for value in reference_indices]
        _check_request(num_images, batch_size, image_seeds, indices, len(bank))
        requests = [ImageRequest(value, value, index, 0) for value, index in zip(image_seeds, indices, strict=True)]
        drawing = Drawing(
            bank,
            prompt,
            types,
            from_reference=settings,
            from_copy=dataclasses.replace(settings, strength=chosen.copied_strength),
            copied_share=chosen.copied_share,
            grey=self._is_grey(bank),
            keep_background=chosen.background == "reference" and not self.config.official,
        )
        done = draw_all(self, requests, drawing, batch_size)
        records = [
            PairRecord(
                drawn.request.seed,
                tuple(sorted(types)),
                prompt,
                bank.names[drawn.request.reference],
                drawn.score,
                drawn.request.retries,
                drawn.copied_from,
            )
            for drawn in done
        ]
        return SeaSPipelineOutput(
            images=torch.stack([drawn.image for drawn in done]),
            masks=torch.stack([drawn.mask for drawn in done]),
            references=bank.images[indices].float() / 255,
            records=records,
        )

    def sampler_settings(
        self,
        strength: float | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        copied_share: float | None = None,
    ) -> SamplerSettings:
        """Return the settings of one call, checked, for images that start from a reference; None keeps the run's own.

        Raises:
            SeasError: a setting is out of range, or asks for noise that the model was not fine-tuned on.
        """
        chosen = self._chosen_sampling(strength, guidance_scale, num_inference_steps, copied_share)
        return self._settings_of(chosen)

    def _chosen_sampling(
        self,
        strength: float | None,
        guidance_scale: float | None,
        num_inference_steps: int | None,
        copied_share: float | None,
    ) -> SamplingConfig:
        """Return the run's sampling with what is given in its place, checked."""
        given: dict[str, Any] = {
            "strength": strength,
            "copied_strength": strength,
            "guidance_scale": guidance_scale,
            "num_inference_steps": num_inference_steps,
            "copied_share": copied_share,
        }
        given = {name: value for name, value in given.items() if value is not None}
        chosen = dataclasses.replace(self.sampling, **given)
        # The authors' start is almost pure noise, in which nothing of a copy would be left.
        if self.few_shot is None or self.config.official:
            chosen = dataclasses.replace(chosen, copied_share=0.0)
        limit, steps = self.config.max_timestep, self.scheduler.config.num_train_timesteps
        for value in (chosen.strength, *([chosen.copied_strength] if chosen.copied_share else [])):
            if limit is not None and value * steps > limit:
                message = (
                    f"strength is {value}, but this model was fine-tuned on noise of timesteps below {limit} only, of "
                    f"{steps}; give at most {limit / steps:.2f}, or fine-tune with --sampling.strength {value}."
                )
                raise SeasError(message)
        return chosen

    def _settings_of(self, chosen: SamplingConfig) -> SamplerSettings:
        official = self.config.official
        settings = SamplerSettings.of(chosen, self.prompt, official, self.config.max_timestep)
        if not official:
            self.scheduler.set_timesteps(chosen.num_inference_steps, device="cpu")
            first_index(self.scheduler, settings)
        return settings

    def _is_grey(self, bank: References) -> bool:
        """Return whether normal and defect images are grey, so that what is drawn has to be."""
        defects = self.few_shot is None or is_grey(self.few_shot.images)
        return not self.config.official and defects and is_grey(bank.images)

    def _references(self) -> References:
        if self.references is None or not len(self.references):
            message = "this model has no reference images; pass references=, or fine-tune again."
            raise SeasError(message)
        return self.references


def _check_request(count: int, batch_size: int, seeds: list[int], references: list[int], available: int) -> None:
    if count < 1 or batch_size < 1:
        message = f"num_images is {count} and batch_size {batch_size}; give 1 or more for both."
        raise SeasError(message)
    if len(seeds) != count or len(references) != count:
        message = (
            f"{count} images were asked for, with {len(seeds)} seeds and {len(references)} references; "
            "give one of each per image."
        )
        raise SeasError(message)
    outside = [index for index in references if not 0 <= index < available]
    if outside:
        message = f"reference_indices holds {outside[0]}; there are {available} references, give 0 to {available - 1}."
        raise SeasError(message)


def _as_references(images: torch.Tensor, size: int) -> References:
    if images.ndim != 4 or not len(images) or images.shape[1] != 3 or images.shape[-2:] != (size, size):
        message = f"references have the shape {tuple(images.shape)}; give [M, 3, {size}, {size}] with M of 1 or more."
        raise SeasError(message)
    pixels = images if images.dtype == torch.uint8 else (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return References(pixels.cpu(), tuple(f"references[{index}]" for index in range(len(images))))


def solver(scheduler: Any) -> Any:
    """Return DPM-Solver++ (order 2, midpoint; Lu et al. 2022) for a base's noise schedule."""
    return DPMSolverMultistepScheduler.from_config(
        scheduler.config,
        algorithm_type="dpmsolver++",
        solver_order=2,
        timestep_spacing="linspace",
        # Karras noise levels lie between the timesteps, and the start from a reference has to match one.
        use_karras_sigmas=False,
    )
