# SPDX-License-Identifier: Apache-2.0
"""SeaSPipeline: generated defect images with exact masks, from one fine-tuned model per product."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from seas_aug.config import DrawConfig, Resize, SamplingConfig
from seas_aug.draw.attempt import Request, check_requests
from seas_aug.draw.call import Call
from seas_aug.draw.compose import Composer
from seas_aug.draw.control import Control, resize_of_run
from seas_aug.draw.draw import draw_all, draw_first_window
from seas_aug.draw.few_shot import FewShotDefects
from seas_aug.draw.gate import GateLimits
from seas_aug.draw.holes import check_means_something
from seas_aug.draw.one_device import OneDevicePipeline, check_one_device, with_exact_masks
from seas_aug.draw.output import SeaSPipelineOutput
from seas_aug.draw.references import References, are_grey, load_references, named, own_references
from seas_aug.draw.sample import SamplerSettings, check_mask_steps, first_index
from seas_aug.errors import SeasError
from seas_aug.prompt.ua_prompt import UAPrompt


class SeaSPipeline(OneDevicePipeline):
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
        official: draw as the authors' code does: from the unscaled latent, each seed once, masks by batch statistics.
        base: name of the base that was fine-tuned.
        max_timestep: it was fine-tuned on noise of timesteps below this one only; None means all.
        max_mask_timestep: likewise its mask predictor; None for runs of version 0.1, which did not say.
        windows: sizes in pixels of the windows it was fine-tuned on; none for whole images as squares (version 0.1).
        resize: how whole images became squares.
    """

    _optional_components: ClassVar[list[str]] = ["mask_predictor"]

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
        max_mask_timestep: int | None = None,
        windows: list[int] | None = None,
        resize: str = "squash",
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
            max_mask_timestep=max_mask_timestep,
            windows=list(windows or ()),
            resize=resize,
        )
        self.references: References | None = None
        self.few_shot: FewShotDefects | None = None

    @property
    def prompt(self) -> UAPrompt:
        """The Unbalanced Abnormal (UA) prompt with its type -> token table."""
        return UAPrompt.from_dict(self.config.ua_prompt)

    @property
    def anomaly_types(self) -> tuple[str, ...]:
        """Types that can be drawn."""
        return self.prompt.anomaly_types

    @property
    def num_references(self) -> int:
        """Number of normal images to start from."""
        return len(self._references().names)

    @property
    def sampling(self) -> SamplingConfig:
        """Default sampling settings of the run."""
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
            message = f"{path} holds no fine-tuned model (no model_index.json); give the folder that was the --output "
            raise SeasError(message + "of 'seas-aug finetune', after it has finished.")
        check_one_device(kwargs.get("device_map"))
        kwargs["torch_dtype"] = with_exact_masks(kwargs.get("torch_dtype"))
        try:
            found = cls.load_config(str(folder)).get("_class_name")
            pipeline = super().from_pretrained(str(folder), **kwargs) if found == cls.__name__ else None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
            raise SeasError(f"{folder} is damaged ({reason}); fine-tune again or copy the run folder anew.") from error
        if pipeline is None:
            message = f"{folder} is a base model, not a fine-tuned one; run 'seas-aug finetune --base {folder}' first."
            raise SeasError(message)
        if "resize" not in cls.load_config(str(folder)):
            pipeline.register_to_config(resize=resize_of_run(folder.parent))
        pipeline.references, pipeline.few_shot = load_references(folder), FewShotDefects.load(folder)
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
        settings: DrawConfig | None = None,
        *,
        seeds: Sequence[int] | None = None,
        reference_indices: Sequence[int] | None = None,
        numbers: Sequence[int] | None = None,
        references: Sequence[NDArray[Any]] | None = None,
        batch_size: int = 8,
    ) -> SeaSPipelineOutput:
        """Draw images.

        Image ``i`` depends on its seed, its reference and ``settings`` only: not on the batch size, nor on the other
        images (on a CPU to the last bit for the same number of threads, on a GPU up to its rounding). With ``official``
        its mask depends on the images of its batch too; the authors draw 10 at a time.

        Args:
            anomaly_type: one type; several types to recombine their tokens (an unseen anomaly); None for normal images.
            num_images: how many, 1 or more.
            seed: image ``i`` takes the seed ``seed + i`` and, unless told otherwise, normal image ``(seed + i) mod N``.
            settings: where defects go, their number, size and strength; None takes the run's own.
            seeds: one seed per image, in place of ``seed``.
            reference_indices: which reference each image is drawn on.
            numbers: number of each image, which picks the user's mask; None counts from 0.
            references: own normal images to draw on, uint8 or uint16, ``[H, W]`` or ``[H, W, C]`` in RGB order, of any
                size (of the model's size, for a model that sees whole images).
            batch_size: images drawn at once, 1 or more.

        Returns:
            Images, masks, references and records, in order; fruitless seeds in ``refused``.

        Raises:
            SeasError: an unknown type, a setting out of range, no mask predictor, a region or mask that does not fit.
        """
        settings = settings or DrawConfig()
        bank = self._references() if references is None else own_references(references, self._square)
        types = (anomaly_type,) if isinstance(anomaly_type, str) else tuple(anomaly_type or ())
        if types and self.mask_predictor is None:
            raise SeasError("this model has no mask predictor, so no defects; finish 'seas-aug finetune' first.")
        call = self.make_call(types, settings, bank)
        # Plain integers, since a seed is derived from how they are written.
        image_seeds = [int(value) for value in (range(seed, seed + num_images) if seeds is None else seeds)]
        allowed = call.control.with_masks(bank.names, named(bank, settings.references))
        chosen = [allowed[value % len(allowed)] for value in image_seeds]
        indices = chosen if reference_indices is None else [int(value) for value in reference_indices]
        counted = list(range(num_images) if numbers is None else numbers)
        check_requests(num_images, batch_size, image_seeds, indices, counted, len(bank.names))
        rows = zip(image_seeds, indices, counted, strict=True)
        requests = [Request(value, index, number) for value, index, number in rows]
        return SeaSPipelineOutput.of(draw_all(call, requests, batch_size))

    @torch.no_grad()
    def preview(
        self, anomaly_type: str, seed: int, reference: int, sampling: SamplingConfig
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the first window of an image before and after it is drawn, for a model without masks too.

        Args:
            anomaly_type: its type.
            seed: its seed.
            reference: index of its normal image.
            sampling: in place of the run's own.

        Returns:
            Two float32 ``[3, S, S]`` in [0, 1] on the CPU.
        """
        call = self.make_call((anomaly_type,), DrawConfig(), sampling=sampling)
        return draw_first_window(call, Request(seed, reference))

    def check(self, settings: DrawConfig) -> list[int]:
        """Check the settings of a call before it is made; return the indices of the references to draw on.

        Raises:
            SeasError: a setting is out of range, or asks for noise that the model was not fine-tuned on.
        """
        self._sampler(self._chosen_sampling(settings))
        self._check_supported(settings)
        bank = self._references()
        control = Control(settings.region, settings.masks, self._square)
        chosen = control.with_masks(bank.names, named(bank, settings.references))
        control.check([(bank.names[index], bank.size(index)) for index in chosen])
        return chosen

    def make_call(
        self,
        types: tuple[str, ...],
        settings: DrawConfig,
        bank: References | None = None,
        sampling: SamplingConfig | None = None,
    ) -> Call:
        """Return what all images of a call share, for the functions of :mod:`seas_aug.draw.draw`.

        Args:
            types: anomaly types; none for normal images.
            settings: of the call.
            bank: normal images; None takes the model's.
            sampling: in place of the run's settings with those of the call.

        Raises:
            SeasError: an unknown type, a setting out of range, or no reference.
        """
        self._check_supported(settings)
        bank, sampling = bank or self._references(), sampling or self._chosen_sampling(settings)
        check_means_something(settings, sampling)
        prompt = self.prompt.anomaly_prompt(*types) if types else self.prompt.normal_prompt()
        return Call(
            pipe=self,
            references=bank,
            composer=Composer(self.few_shot, types, self.sides, settings),
            control=Control(settings.region, settings.masks, self._square),
            prompt=prompt,
            types=types,
            sampling=sampling,
            settings=settings,
            sampler=self._sampler(sampling),
            limits=None if self.few_shot is None else self._once("_limits", self.few_shot, GateLimits.of),
            image_size=self.config.image_size,
            grey=not self.config.official
            and (self.few_shot is None or self.few_shot.is_grey)
            and self._once("_grey", bank, are_grey),
            keep_background=sampling.background == "reference" and not self.config.official,
        )

    def _check_supported(self, settings: DrawConfig) -> None:
        if self.few_shot is None and (settings.size is not None or settings.counts != (1, 1)):
            message = "this model keeps no few-shot defects, which size and count need; fine-tune it again."
            raise SeasError(message)

    def _once(self, name: str, subject: Any, measure: Callable[[Any], Any]) -> Any:
        """Return what is measured of a part of the model, again only for another part."""
        known: tuple[Any, Any] | None = self.__dict__.get(name)
        if known is None or known[0] is not subject:
            known = subject, measure(subject)
            self.__dict__[name] = known
        return known[1]

    @property
    def sides(self) -> tuple[int, ...]:
        """Sizes of windows in pixels; none for a model that sees whole images, as those of version 0.1 do."""
        return tuple(self.config.windows or ())

    @property
    def _square(self) -> tuple[int, Resize] | None:
        """Side and way of scaling of the squares that whole images become; None for a model that draws in windows."""
        return None if self.sides else (self.config.image_size, self.config.resize)

    def _chosen_sampling(self, settings: DrawConfig) -> SamplingConfig:
        """Return the run's sampling with what is given in its place, checked."""
        chosen = settings.over(self.sampling)
        if self.config.official:  # no copy is seen in the authors' start, and a redraw would change batch mates
            chosen = dataclasses.replace(chosen, copied_share=0.0, fill="reference", max_retries=0)
        elif self.few_shot is None:
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

    def _sampler(self, sampling: SamplingConfig) -> SamplerSettings:
        official = self.config.official
        against = self.prompt.normal_prompt() if sampling.guidance_from == "normal" else ""
        settings = SamplerSettings(sampling, sampling.strength, against, official, self.config.max_timestep)
        self.scheduler.set_timesteps(sampling.num_inference_steps, device="cpu")
        check_mask_steps(self.scheduler.timesteps, sampling.mask_steps, self.config.max_mask_timestep)
        if not official:
            first_index(self.scheduler, settings)
        return settings

    def _references(self) -> References:
        if self.references is None or not self.references.names:
            raise SeasError("this model has no reference images; pass references=, or fine-tune again.")
        return self.references
