# SPDX-License-Identifier: Apache-2.0
"""How much of real defects a base's autoencoder keeps.

Command::

    python -m benchmarks.autoencoder --data DIR [DIR ...] [--base embedded] [--image_size 256] [--output results.json]

For each category: the peak signal-to-noise ratio (PSNR, dB, mean over the defect images) of encoding and decoding,
beside that of reducing the image four times and enlarging it again with antialiased bicubic, on the whole image and
inside the masks. The embedded base was trained on rendered images only, so all of these are unseen.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.data.category import DefectSample, read_mvtec_folder
from seas_aug.data.images import load_image, load_mask, to_model_range
from seas_aug.errors import SeasError

if TYPE_CHECKING:
    from torch import Tensor


def psnr(picture: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Return the PSNR in dB of pictures ``[3, H, W]`` in [-1, 1], over the pixels where mask ``[1, H, W]`` is 1."""
    import torch

    error = (picture.clamp(-1, 1) - truth).square().mean(dim=0, keepdim=True)
    chosen = error if mask is None else error[mask > 0]
    return float(10 * torch.log10(4.0 / chosen.mean().clamp_min(1e-10)))


def bicubic4(picture: Tensor) -> Tensor:
    """Reduce a picture ``[3, H, W]`` four times and enlarge it again, both antialiased bicubic."""
    from torch.nn import functional

    height, width = picture.shape[-2:]
    small = functional.interpolate(picture[None], (height // 4, width // 4), mode="bicubic", antialias=True)
    return functional.interpolate(small, (height, width), mode="bicubic", antialias=True)[0]


def measure(base: Any, samples: Sequence[DefectSample], size: int) -> dict[str, dict[str, float]]:
    """Return ``psnr`` and ``psnr_in_mask`` as ``{"model", "bicubic4"}`` in dB, means over the samples.

    Args:
        base: what has a ``vae``: a base, or a pipeline.
        samples: defect images with masks.
        size: side in pixels that they are resized to.
    """
    import torch

    from seas_aug.latents.codec import decode_latents, encode_latents

    rows: list[tuple[float, float, float, float]] = []
    for sample in samples:
        truth = to_model_range(load_image(sample.image, size, "squash"))
        mask = load_mask(sample.mask, size, "squash")
        with torch.no_grad():
            model = decode_latents(base.vae, encode_latents(base.vae, truth[None]))[0]
        plain = bicubic4(truth)
        rows.append((psnr(model, truth), psnr(plain, truth), psnr(model, truth, mask), psnr(plain, truth, mask)))
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return {
        "psnr": {"model": means[0], "bicubic4": means[1]},
        "psnr_in_mask": {"model": means[2], "bicubic4": means[3]},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoencoder", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="Category folders in MVTec layout.")
    parser.add_argument("--base", default="embedded", help="Base as in `seas-aug finetune`.")
    parser.add_argument("--image_size", type=int, help="Side of the images in pixels; the base's own if left out.")
    parser.add_argument("--output", type=Path, help="JSON to write.")
    options = parser.parse_args(argv)
    try:
        from seas_aug.base.load import load_base
        from seas_aug.environment import describe_environment

        categories = [read_mvtec_folder(root) for root in options.data]
        base = load_base(options.base)
        size = options.image_size or base.image_size
        print(f"{'category':<16}{'images':>7}{'PSNR':>8}{'bicubic':>9}{'in mask':>9}{'bicubic':>9}")
        results: dict[str, Any] = {}
        for category in categories:
            samples = [sample for group in category.defects.values() for sample in group]
            found = measure(base, samples, size)
            results[category.name] = {"images": len(samples), **found}
            figures = [found[key][kind] for key in ("psnr", "psnr_in_mask") for kind in ("model", "bicubic4")]
            shown = "".join(f"{value:>{width}.2f}" for value, width in zip(figures, (8, 9, 9, 9), strict=True))
            print(f"{category.name:<16}{len(samples):>7}{shown}", flush=True)
        if options.output is not None:
            content = {
                "base": base.name,
                "image_size": size,
                "categories": results,
                "environment": describe_environment(),
            }
            atomic_write_text(options.output, json.dumps(content, indent=1) + "\n")
    except SeasError as error:
        print(f"autoencoder: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
