# SPDX-License-Identifier: Apache-2.0
"""Whether drawing does as it is told, and where it draws when it is told nothing; measured on masks.

Command::

    python -m benchmarks.control --product rendered --run RUN --pairs 200 --output benchmarks/results/control.json

For each control so many pairs are drawn, types in turn, and counted as obeyed: ``region`` (the mask lies inside one
of each reference, and outside of it nothing changed), ``masks`` (the mask is the user's, pixel by pixel),
``count`` (the mask holds three defects), ``size`` (each extent within the range, by a tenth or 2 pixels), ``type``
(what it starts from is of the type that was asked for, as its record says). ``off_part`` is drawn with the defaults:
the share of pairs that lie on the part by less than half, and by less than any real defect of their type does.
The exit code is 1 if a pair did not obey.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.drawing.parts import find_part
from benchmarks.drawing.products import PRODUCTS, Product
from seas_aug.artifact.atomic import atomic_write_text
from seas_aug.config import DrawConfig
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.decode import read_mask, write_native
from seas_aug.data.seeds import derive_seed
from seas_aug.data.windows import defect_boxes
from seas_aug.draw.gate import held_size
from seas_aug.draw.output import Pair
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.environment import describe_environment
from seas_aug.errors import SeasError

Pixels = NDArray[np.uint8]
_CALL = 8  # pairs drawn at once
_COUNT = 3
_REGION, _MASK = 0.6, 0.12  # share of an image's sides
_ON_PART = 0.5  # share of a mask


def measure(pipe: SeaSPipeline, product: Product, root: Path | None, pairs: int, folder: Path) -> dict[str, Any]:
    """Draw and count.

    Args:
        pipe: the model.
        product: which.
        root: its folder, of which the real masks are read; None measures the controls alone.
        pairs: of each control.
        folder: regions and masks are written there.
    """
    shapes = {name: native.shape[:2] for name, native in _references(pipe)}
    regions, masks = folder / "regions", folder / "masks"
    for name, shape in shapes.items():
        stem = Path(name).stem
        _write(regions / f"{stem}.png", random_region(shape, derive_seed(0, stem)))
        _write(masks / f"{stem}.png", random_shape(shape, derive_seed(1, stem)))

    def in_region(pair: Pair) -> bool:
        region = read_mask(regions / f"{Path(pair.record.reference).stem}.png")
        changed = (pair.image != pair.reference).reshape(*region.shape, -1).any(-1)
        return not (pair.mask > region).any() and not (changed > region).any()

    def is_the_users(pair: Pair) -> bool:
        return np.array_equal(pair.mask, read_mask(masks / f"{Path(pair.record.reference).stem}.png"))

    size = usual_size(pipe)
    least, most = held_size(size)
    checks: dict[str, tuple[DrawConfig, Callable[[Pair], bool]]] = {
        "region": (DrawConfig(region=regions), in_region),
        "masks": (DrawConfig(masks=masks), is_the_users),
        "count": (DrawConfig(count=_COUNT, size=size), lambda pair: len(defect_boxes(pair.mask)) == _COUNT),
        "size": (DrawConfig(size=size), lambda pair: all(least <= b.extent <= most for b in defect_boxes(pair.mask))),
        "type": (DrawConfig(), of_its_type),
    }
    found: dict[str, Any] = {}
    for name, (settings, obeys) in checks.items():
        begin = time.perf_counter()
        refused, obeyed = 0, list[bool]()
        off: dict[str, list[float]] = {}
        for pair in draw(pipe, settings, pairs):
            refused += pair is None
            if pair is None:
                continue
            obeyed.append(bool(pair.mask.any()) and obeys(pair))
            part = find_part(product, Path(pair.record.reference)) if name == "type" else None
            if part is not None:
                off.setdefault(pair.record.anomaly_types[0], []).append(share_on_part(pair.mask, part))
        seconds = round((time.perf_counter() - begin) / max(len(obeyed), 1), 3)
        found[name] = {"pairs": len(obeyed), "obeyed": sum(obeyed), "refused": refused, "seconds_per_pair": seconds}
        found[name] |= {} if settings.size is None else {"size": settings.size}
        if off and root is not None:
            found["off_part"] = off_part(off, real_shares(product, root))
        print(name, found[name], found.get("off_part", "") if off else "", flush=True)
    return found


def draw(pipe: SeaSPipeline, settings: DrawConfig, pairs: int) -> Iterator[Pair | None]:
    """Yield pairs, types in turn, until there are enough; None for a seed that was refused.

    Args:
        pipe: the model.
        settings: of the call.
        pairs: how many.

    Raises:
        SeasError: nearly every seed is refused.
    """
    types, done = pipe.anomaly_types, 0
    for number in range(4 * pairs // _CALL + 4 * len(types)):
        out = pipe(types[number % len(types)], _CALL, number * _CALL, settings, batch_size=_CALL)
        for parts in zip(out.images, out.masks, out.references, out.records, strict=True):
            if done < pairs:
                done += 1
                yield Pair(*parts)
        yield from [None] * len(out.refused)
        if done >= pairs:
            return
    raise SeasError(f"{done} of {pairs} pairs after {number + 1} calls; most seeds are refused.")


def off_part(shares: dict[str, list[float]], real: dict[str, list[float]]) -> dict[str, Any]:
    """Return how many pairs lie off the part.

    Args:
        shares: per type, the share of each drawn mask that lies on the part.
        real: the same of the real defects.

    Returns:
        ``mostly``: share of pairs less than half on the part. ``beyond_real``: share of pairs that lie on it by less
        than any real defect of their type, and less than half. Both over all types; and per type with the least real
        share.
    """
    by_type = {}
    for name, values in shares.items():
        least = min(real.get(name) or [1.0])
        drawn = np.asarray(values)
        by_type[name] = {
            "pairs": len(values),
            "mostly": float((drawn < _ON_PART).mean()),
            "beyond_real": float((drawn < min(_ON_PART, least)).mean()),
            "least_of_real": least,
        }
    count = sum(len(values) for values in shares.values())
    overall = {
        key: sum(one[key] * one["pairs"] for one in by_type.values()) / count for key in ("mostly", "beyond_real")
    }
    return {**overall, "by_type": by_type}


def share_on_part(mask: Pixels, part: Pixels) -> float:
    """Return the share of a mask that lies on the part; both uint8 ``[H, W]`` of 0 and 1."""
    return float((mask & part).sum() / max(1, int(mask.sum())))


def real_shares(product: Product, root: Path) -> dict[str, list[float]]:
    """Return, per type, the share of each real defect's mask that lies on the part."""
    category = read_mvtec_folder(root)
    found: dict[str, list[float]] = {}
    for name, samples in category.defects.items():
        parts = [find_part(product, sample.image) for sample in samples]
        found[name] = [
            share_on_part(read_mask(sample.mask), part)
            for sample, part in zip(samples, parts, strict=True)
            if part is not None
        ]
    return found


def of_its_type(pair: Pair) -> bool:
    """Return whether a pair starts from defects of its own types, as its record says."""
    sources = pair.record.copied_from
    return bool(sources) and all(Path(one).parent.name in pair.record.anomaly_types for one in sources)


def usual_size(pipe: SeaSPipeline) -> tuple[float, float]:
    """Return a range of sizes that asks for something: from the lower quartile of the few-shot extents to half more."""
    assert pipe.few_shot is not None  # noqa: S101 - runs in windows have them
    low = max(8.0, float(np.quantile([defect.box.extent for defect in pipe.few_shot.defects], 0.25)))
    shortest = min(min(native.shape[:2]) for _, native in _references(pipe))
    low = min(low, shortest / (2 * _COUNT))
    return round(low, 1), round(1.5 * low, 1)


def random_region(shape: Sequence[int], seed: int) -> Pixels:
    """Return a rectangle of three fifths of an image's sides at a random place, uint8 ``[H, W]`` of 0 and 1."""
    rng = np.random.default_rng(seed)
    region = np.zeros(tuple(shape[:2]), np.uint8)
    height, width = (int(_REGION * length) for length in shape[:2])
    top, left = (int(rng.integers(length - own + 1)) for length, own in zip(shape[:2], (height, width), strict=True))
    region[top : top + height, left : left + width] = 1
    return region


def random_shape(shape: Sequence[int], seed: int) -> Pixels:
    """Return a star at a random place, about an eighth of the shorter side wide, uint8 ``[H, W]`` of 0 and 1."""
    rng = np.random.default_rng(seed)
    radius = max(4.0, _MASK * min(shape[:2]) / 2)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    reach = radius * rng.uniform(0.5, 1.0, 9)
    middle = [rng.uniform(radius, max(radius + 1, length - radius)) for length in shape[:2]]
    points = np.stack([middle[1] + reach * np.cos(angles), middle[0] + reach * np.sin(angles)], 1)
    mask = np.zeros(tuple(shape[:2]), np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    return mask


def _references(pipe: SeaSPipeline) -> list[tuple[str, NDArray[Any]]]:
    assert pipe.references is not None  # noqa: S101 - the callers look
    return [(name, pipe.references.native(index)) for index, name in enumerate(pipe.references.names)]


def _write(path: Path, mask: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_native(mask * np.uint8(255)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        Exit code: 0, 1 where a pair did not obey, or 2 after a user's mistake.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.control", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--product", required=True, choices=list(PRODUCTS), help="What the run is of.")
    parser.add_argument("--run", type=Path, required=True, help="Run folder of seas-aug finetune.")
    parser.add_argument("--root", type=Path, help="Folder of the product; needed for off_part.")
    parser.add_argument("--pairs", type=int, default=200, help="Of each control.")
    parser.add_argument("--output", type=Path, required=True, help="JSON to merge the figures into.")
    options = parser.parse_args(argv)
    try:
        pipe = SeaSPipeline.from_pretrained(options.run)
        if pipe.references is None or pipe.few_shot is None or not pipe.sides:
            raise SeasError(f"{options.run}: expected a run in windows, with its references and few-shot defects.")
        pipe.to("cuda" if torch.cuda.is_available() else "cpu")
        pipe.set_progress_bar_config(disable=True)
        with tempfile.TemporaryDirectory() as folder:
            found = measure(pipe, PRODUCTS[options.product], options.root, options.pairs, Path(folder))
    except SeasError as error:
        print(f"control: error: {error}", file=sys.stderr)
        return 2
    known = json.loads(options.output.read_text(encoding="utf-8")) if options.output.is_file() else {}
    known[options.product] = {**found, "environment": describe_environment()}
    atomic_write_text(options.output, json.dumps(known, indent=1, sort_keys=True) + "\n")
    return int(any(one["obeyed"] != one["pairs"] for one in found.values() if "obeyed" in one))


if __name__ == "__main__":
    sys.exit(main())
