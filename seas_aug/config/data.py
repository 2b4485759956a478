# SPDX-License-Identifier: Apache-2.0
"""Settings of the images: where they are, how they become pictures for the model, how they are varied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from seas_aug.config.check import check

Resize = Literal["squash", "crop"]
Windows = Literal["auto", "image"] | tuple[int, ...]
Order = Literal["types", "images"]
SMALLEST_WINDOW = 8


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
        image_size: side of the model's pictures in pixels; None takes the base's native size.
        windows: sizes, in pixels of your images, of the square windows that are learnt and drawn in. ``auto`` takes
            what the few-shot defects ask for: a defect covers up to 0.4 of a window's side, no window is smaller than
            ``image_size``, and each size has twice the area of the one before. ``image`` scales the whole image to one
            square (paper), in which small defects of large images are lost.
        windows_per_defect: windows that are cut around the defects of a few-shot image, off their centres. Enough that
            none is learnt by heart, few enough to keep their latents in memory.
        resize: how a whole image becomes a square, with ``windows: image``: ``squash`` scales both sides so that no
            defect is cut away; ``crop`` is the paper's resize and centre crop.
        rotate: draw a rotation of 0, 90, 180 or 270 degrees (paper section 4.1). Off, because generated images start
            from upright references and a small base then mixes the directions of a grain; switch it on for products
            that lie in any direction.
        flip: draw no flip, a horizontal or a vertical one.
        turn_together: turn a normal image as the anomaly image beside it is turned (authors' code). Off, because two
            draws show more than one.
        order: what comes equally often in fine-tuning: ``types``, so that a type with few images is learnt as well as
            one with many, or ``images`` (paper).
        partly_marked: with ``official``, cells that a mask covers in part belong to the defect, as the authors' code
            has it for VisA and MVTec 3D ("mask > 0"). Off: those that it covers whole (MVTec AD, "mask == 1").
        num_normals: how many normal images are used, evenly spread over the sorted list; None takes all of them.
        num_workers: data loading processes. Decoded images are cached, so none are needed for small sets.
    """

    root: Path | None = None
    datamodule: dict[str, Any] | None = None
    few_shot: str | float = "0.3333"
    groups: Path | None = None
    image_size: int | None = None
    windows: Windows = "auto"
    windows_per_defect: int = 24
    resize: Resize = "squash"
    rotate: bool = False
    flip: bool = True
    turn_together: bool = False
    order: Order = "types"
    partly_marked: bool = False
    num_normals: int | None = None
    num_workers: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "few_shot", str(self.few_shot))  # YAML reads 0.4 as a number
        sizes = () if isinstance(self.windows, str) else self.windows
        check(
            self.windows in ("auto", "image") or (len(sizes) > 0 and min(sizes) >= SMALLEST_WINDOW),
            f"data.windows is {self.windows}; give auto, image, or sizes of {SMALLEST_WINDOW} pixels or more.",
        )
        check(self.order in ("types", "images"), f"data.order is {self.order!r}; give 'types' or 'images'.")
        check(self.windows_per_defect >= 1, f"data.windows_per_defect is {self.windows_per_defect}; give at least 1.")


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
            check(0 <= value <= 1, f"{name} of variation is {value}; give a number from 0 to 1.")
        check(
            0 < self.smallest_zoom <= 1,
            f"smallest_zoom of variation is {self.smallest_zoom}; give a number above 0 and up to 1.",
        )

    @property
    def varies(self) -> bool:
        """Whether anything is varied at all."""
        return self.light or max(self.paste_share, self.zoom_share, self.warp_share) > 0
