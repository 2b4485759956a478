# SPDX-License-Identifier: Apache-2.0
"""A pipeline whose images are noise from their seeds."""

import numpy as np

from seas_aug.config import DrawConfig
from seas_aug.draw.control import Control
from seas_aug.draw.output import Pair, PairRecord, Refusal, SeaSPipelineOutput
from seas_aug.errors import SeasError

ALL = range(10**9)
REASONS = ("empty mask", "nothing to see, seam")


class FakePipeline:
    """Stands for a model.

    Args:
        refused: for each type, the numbers of the images that its gate refuses.
        empty_masks: draw no mask.
        shape: of the images.
        dtype: of the images.
        num_references: its normal images.
    """

    anomaly_types = ("crack", "hole")

    def __init__(self, refused=None, empty_masks=False, shape=(8, 8, 3), dtype=np.uint8, num_references=3):
        self.calls = []
        self.asked = []
        self.num_references = num_references
        self._refused, self._empty, self._shape, self._dtype = refused or {}, empty_masks, shape, dtype

    def check(self, settings):
        assert isinstance(settings, DrawConfig)
        if settings.strength is not None and settings.strength > 0.9:
            raise SeasError("strength is too high for this model.")
        Control(settings.region, settings.masks, None)
        return list(range(self.num_references))

    def image(self, seed):
        return np.random.default_rng(seed).integers(0, np.iinfo(self._dtype).max, self._shape, self._dtype, True)

    def mask(self, seed):
        image = self.image(seed)
        first = image if image.ndim == 2 else image[..., 0]
        return (first > np.iinfo(self._dtype).max // 2).astype(np.uint8)

    def reference(self, index):
        return np.full(self._shape, 20 * index + 1, self._dtype)

    def __call__(self, anomaly_type, num_images, *, settings, seeds, reference_indices, numbers, batch_size):
        assert num_images == len(seeds) == len(reference_indices) == len(numbers) == batch_size
        assert isinstance(settings, DrawConfig)
        assert all(index in range(self.num_references) for index in reference_indices)
        self.calls.append((anomaly_type, len(seeds)))
        types = (anomaly_type,) if isinstance(anomaly_type, str) else tuple(sorted(anomaly_type or ()))
        self.asked += [(types, number) for number in numbers]
        rows = zip(seeds, reference_indices, numbers, strict=True)
        return SeaSPipelineOutput.of([self._draw(types, *row) for row in rows])

    def _draw(self, types, seed, index, number):
        name = f"normal/{index}.png"
        if number in self._refused.get("+".join(types), ()):
            return Refusal(seed, types, name, REASONS)
        mask = self.mask(seed) * np.uint8(bool(types) and not self._empty)
        copied = ("few.png",) if types else ()
        record = PairRecord(seed, types, f"a {types}", name, 0.5, 0, (), copied, ((0, 0, 8),))
        return Pair(self.image(seed), mask, self.reference(index), record)


def make_run(folder):
    """Write what counts as a finished model."""
    (folder / "model" / "unet").mkdir(parents=True)
    (folder / "model" / "model_index.json").write_text('{"_class_name": "SeaSPipeline", "_diffusers_version": "1"}')
    (folder / "model" / "unet" / "weights.safetensors").write_bytes(b"12345")
    return folder


def tree(folder):
    """Return every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
