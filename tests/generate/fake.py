# SPDX-License-Identifier: Apache-2.0
"""A pipeline whose images are noise from their seeds."""

from types import SimpleNamespace

import torch

from seas_aug.errors import SeasError


class FakePipeline:
    anomaly_types = ("crack", "hole")
    num_references = 3

    def __init__(self, empty_masks=False):
        self.calls = []
        self._empty = empty_masks

    def sampler_settings(self, strength, guidance_scale, num_inference_steps, copied_share):
        if strength is not None and strength > 0.9:
            raise SeasError("strength is too high for this model.")

    def __call__(self, anomaly_type, *, num_images, seeds, reference_indices, batch_size, **sampling):
        assert num_images == len(seeds) == len(reference_indices) == batch_size
        assert set(sampling) == {"strength", "guidance_scale", "num_inference_steps", "copied_share"}
        self.calls.append((anomaly_type, len(seeds)))
        images = torch.stack([torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        masks = (images[:, :1] > 0.5).float() * (0 if self._empty else 1)
        references = torch.stack([torch.full((3, 8, 8), index / 10) for index in reference_indices])
        types = (
            () if anomaly_type is None else (anomaly_type,) if isinstance(anomaly_type, str) else tuple(anomaly_type)
        )
        records = [
            SimpleNamespace(
                seed=seed,
                anomaly_types=types,
                prompt=f"a {types}",
                reference=f"{index}.png",
                score=0.5,
                retries=0,
                copied_from=("few.png",) if types else (),
            )
            for seed, index in zip(seeds, reference_indices, strict=True)
        ]
        return SimpleNamespace(images=images, masks=masks, references=references, records=records)


def make_run(folder):
    """Write what counts as a finished model."""
    (folder / "model" / "unet").mkdir(parents=True)
    (folder / "model" / "model_index.json").write_text('{"_class_name": "SeaSPipeline", "_diffusers_version": "1"}')
    (folder / "model" / "unet" / "weights.safetensors").write_bytes(b"12345")
    return folder


def tree(folder):
    """Return every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
