# SPDX-License-Identifier: Apache-2.0
"""Does a base of the inpainting layout follow the prompt? The first figure to watch in pretraining.

Command::

    python -m benchmarks.rendered_types --base FOLDER [--photographs FILE] --output types.json --sheet types.png

On rendered twins that no base was trained on: the same hole, place and seed are drawn once with each type's prompt
(``follows_prompt``, :mod:`seas_aug.evaluate.follows_prompt`; its classifier learns on rendered defects after the
autoencoder's round trip), with the exact hole and with a coarse one, the reference seen and hidden. ``real`` is what
rendered defects themselves reach. ``normal`` is the mean change in the hole with the normal prompt, in grey levels,
beside that of the autoencoder alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.base.load import load_base
from seas_aug.base.renderer.defects import DEFECTS
from seas_aug.base.renderer.photographs import Photographs
from seas_aug.base.renderer.twin import Twin, render_twin
from seas_aug.config import SamplingConfig
from seas_aug.config.sampling import HoleReference, HoleShape
from seas_aug.data.images import to_model_range
from seas_aug.draw.sample import SamplerSettings, decode_pictures, draw_windows, solver
from seas_aug.environment import describe_environment
from seas_aug.errors import SeasError
from seas_aug.evaluate.defect_features import DefectFeatures
from seas_aug.evaluate.follows_prompt import followed_by_real, follows_prompt
from seas_aug.latents.codec import encode_latents

Pixels = NDArray[np.uint8]
Way = tuple[HoleShape, HoleReference]
_WAYS: tuple[Way, ...] = (("exact", "seen"), ("exact", "hidden"), ("coarse", "seen"))
_FIRST_SEED = 60_000_000
_BATCH = 11
_EXAMPLES = 600  # rendered defects that the classifier learns the types from
_SHOWN = 6  # holes of the sheet


def single_twins(count: int, first_seed: int, size: int, photographs: Photographs | None) -> list[Twin]:
    """Render twins with one type of defect each."""
    made = (render_twin(seed, size, photographs, both_share=0.0) for seed in itertools.count(first_seed))
    return list(itertools.islice(made, count))


class BaseDrawer:
    """Draws in holes with a base that was not fine-tuned.

    Args:
        base: folder or name.
        steps: of the solver.

    Raises:
        SeasError: the base cannot be loaded.
    """

    def __init__(self, base: str, steps: int) -> None:
        models = load_base(base)
        self.size = models.image_size
        self._pipe = SimpleNamespace(
            unet=models.unet.eval(),
            vae=models.vae.eval(),
            text_encoder=models.text_encoder.eval(),
            tokenizer=models.tokenizer,
            scheduler=solver(models.scheduler),
            config=SimpleNamespace(image_size=models.image_size),
        )
        self._steps = steps

    @torch.no_grad()
    def draw(self, twins: Sequence[Twin], prompts: Sequence[str], seeds: Sequence[int], way: Way) -> Pixels:
        """Return windows uint8 ``[N, S, S, 3]`` with what a prompt makes of each twin's hole.

        Args:
            twins: references and masks.
            prompts: of each.
            seeds: of each.
            way: ``hole_shape`` and ``hole_reference``.
        """
        sampling = SamplingConfig(
            num_inference_steps=self._steps, guidance_scale=1.0, hole_shape=way[0], hole_reference=way[1]
        )
        drawn = np.zeros((len(twins), self.size, self.size, 3), np.uint8)
        for prompt in sorted(set(prompts)):
            rows = [row for row, text in enumerate(prompts) if text == prompt]
            pictures = torch.from_numpy(np.stack([twins[row].reference for row in rows])).permute(0, 3, 1, 2)
            shapes = torch.from_numpy(np.stack([twins[row].mask for row in rows]))[:, None].float()
            settings = SamplerSettings(sampling, 1.0, against=prompt)
            chosen = [seeds[row] for row in rows]
            latents, _ = draw_windows(self._pipe, pictures, chosen, prompt, False, settings, shapes)
            drawn[rows] = decode_pictures(self._pipe, latents, False).permute(0, 2, 3, 1).numpy()
        return drawn

    @torch.no_grad()
    def through_codec(self, images: Pixels) -> Pixels:
        """Return windows after the autoencoder's round trip."""
        done = []
        for picture in torch.from_numpy(images).permute(0, 3, 1, 2).split(_BATCH):
            latents = encode_latents(self._pipe.vae, to_model_range(picture))
            done.append(decode_pictures(self._pipe, latents, False).permute(0, 2, 3, 1).numpy())
        return np.concatenate(done)


def measure(drawer: BaseDrawer, holes: int, photographs: Photographs | None, sheet: Path | None) -> dict[str, Any]:
    """Return the figures of a base.

    Args:
        drawer: the base.
        holes: how many, of twins of all types.
        photographs: real surfaces that twins may lie on.
        sheet: picture to write.
    """
    extract, types = DefectFeatures(), list(DEFECTS)
    examples = single_twins(_EXAMPLES, _FIRST_SEED + 10**6, drawer.size, photographs)
    pictures = drawer.through_codec(np.stack([twin.image for twin in examples]))
    real = extract(pictures, np.stack([twin.mask for twin in examples]).astype(np.uint8))
    names, groups = [twin.defects[0] for twin in examples], [str(row) for row in range(len(examples))]
    twins = single_twins(holes, _FIRST_SEED, drawer.size, photographs)
    masks = np.stack([twin.mask for twin in twins]).astype(np.uint8)
    references = np.stack([twin.reference for twin in twins])
    codec = drawer.through_codec(references)
    found: dict[str, Any] = {"real": round(followed_by_real(real, names, groups), 4), "holes": holes}
    rows = [references, np.repeat(masks[..., None] * np.uint8(255), 3, axis=3), np.stack([t.image for t in twins])]
    for way in tqdm(_WAYS, desc="drawing"):
        drawn = {
            name: drawer.draw(twins, [f"a {twin.noun} with {name}" for twin in twins], range(holes), way)
            for name in types
        }
        features = {name: extract(images, masks) for name, images in drawn.items()}
        result = follows_prompt(real, names, features, [str(row) for row in range(holes)]).to_dict()
        normal = drawer.draw(twins, [f"a {twin.noun}" for twin in twins], range(holes), way)
        result["normal"] = _change(normal, references, masks)
        result["change"] = {name: _change(images, references, masks) for name, images in drawn.items()}
        result.pop("pairs")
        found[" ".join(way)] = result
        rows += [normal, *drawn.values()] if way[0] == "exact" else []
    found["autoencoder"] = _change(codec, references, masks)
    if sheet is not None:
        _write_sheet(sheet, rows)
    return found


def _change(images: Pixels, references: Pixels, masks: Pixels) -> float:
    change = np.abs(images.astype(np.float32) - references).mean(axis=3)
    return round(float(np.mean([one[mask > 0].mean() for one, mask in zip(change, masks, strict=True)])), 2)


def _write_sheet(path: Path, rows: list[Pixels]) -> None:
    picture = np.hstack([np.vstack(list(row[:_SHOWN])) for row in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture[..., ::-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 where it went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="embedded", help="folder or name")
    parser.add_argument("--photographs", type=Path, help="packed file of 'seas_aug.base.pretrain pack_photographs'")
    parser.add_argument("--holes", type=int, default=24)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        photographs = None if given.photographs is None else Photographs(given.photographs)
        found = measure(BaseDrawer(given.base, given.steps), given.holes, photographs, given.sheet)
    except SeasError as error:
        print(error, file=sys.stderr)
        return 1
    entry = {"base": given.base, **found, "environment": describe_environment()}
    atomic_write_text(given.output, json.dumps(entry, indent=1) + "\n")
    print(json.dumps({name: value for name, value in entry.items() if name != "environment"}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
