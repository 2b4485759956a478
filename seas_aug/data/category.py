# SPDX-License-Identifier: Apache-2.0
"""One product category: its normal images and its defect images with masks, read from a folder in MVTec layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from seas_aug.data.groups import Groups
from seas_aug.data.natural import natural_sorted
from seas_aug.errors import SeasError

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
MIN_NORMALS = 2
_LAYOUT = "train/good/, test/<type>/ and ground_truth/<type>/<stem>_mask.png"


@dataclass(frozen=True)
class DefectSample:
    """A defect image with its mask.

    Args:
        image: picture of any size.
        mask: defect pixels, of the same height and width.
        anomaly_type: name of the defect type.
    """

    image: Path
    mask: Path
    anomaly_type: str


@dataclass(frozen=True)
class Category:
    """All images of one product.

    Args:
        name: name of the product.
        normals: training normals, at least 2, in natural order.
        defects: the samples of each type, at least 1 each; types in alphabetical order, samples in natural order.
        test_others: test images that are never learnt from, needed to keep groups whole: normal ones, and defects
            without a mask.
        root: folder in MVTec layout that the images lie in, or None.
        groups: images of one part, where the data set itself tells; a groups file takes their place.
    """

    name: str
    normals: tuple[Path, ...]
    defects: dict[str, tuple[DefectSample, ...]]
    test_others: tuple[Path, ...] = field(default=())
    root: Path | None = None
    groups: Groups = field(default_factory=Groups)

    @property
    def anomaly_types(self) -> tuple[str, ...]:
        """The defect types in alphabetical order."""
        return tuple(self.defects)


def read_mvtec_folder(root: Path) -> Category:
    """Read ``train/good``, ``test/<type>`` and ``ground_truth/<type>`` below ``root``.

    File names are free; png, jpg, jpeg, bmp, tif, tiff and webp are read; hidden files are ignored. The mask of
    ``test/<type>/<stem>.<any>`` is ``ground_truth/<type>/<stem>_mask.<any>`` or ``<stem>.<any>``.

    Args:
        root: the category folder.

    Returns:
        The category, named after its folder. No image is opened.

    Raises:
        SeasError: a folder is missing or empty, there are fewer than 2 normals, no defect type, or a mask is missing.
    """
    root = Path(root)
    if not root.is_dir():
        message = f"{root}: no such folder; expected a category folder with {_LAYOUT}, give its path as data.root."
        raise SeasError(message)
    root = root.resolve()
    normal_folder, test_folder = root / "train" / "good", root / "test"
    for folder in (normal_folder, test_folder):
        if not folder.is_dir():
            message = f"{root}: the folder {folder.relative_to(root)} is missing; expected {_LAYOUT}, add it."
            raise SeasError(message)
    folders = sorted(item for item in test_folder.iterdir() if item.is_dir() and not item.name.startswith("."))
    category = Category(
        name=root.name,
        normals=tuple(list_images(normal_folder)),
        defects={folder.name: _read_type(root, folder) for folder in folders if folder.name != "good"},
        test_others=tuple(list_images(test_folder / "good")),
        root=root,
    )
    check_category(category, where=str(root))
    return category


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in ``folder`` in natural order, without hidden ones.

    Args:
        folder: any folder; a missing one gives an empty list.

    Returns:
        Paths whose extension is in ``IMAGE_EXTENSIONS``, whatever its case.
    """
    if not folder.is_dir():
        return []
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return natural_sorted(path for path in files if path.suffix.lower() in IMAGE_EXTENSIONS)


def check_category(category: Category, where: str) -> None:
    """Check that there is enough to fine-tune on.

    Args:
        category: what was read.
        where: the place it was read from, for the message.

    Raises:
        SeasError: fewer than 2 normals, no defect type, or a type without a sample.
    """
    extensions = ", ".join(sorted(extension[1:] for extension in IMAGE_EXTENSIONS))
    if len(category.normals) < MIN_NORMALS:
        message = (
            f"{where}: {len(category.normals)} normal training image(s) in train/good; expected at least {MIN_NORMALS} "
            f"({extensions}), add more."
        )
        raise SeasError(message)
    if not category.defects:
        message = f"{where}: no defect type in test; expected {_LAYOUT}, add at least 1 defect image with its mask."
        raise SeasError(message)
    for anomaly_type, samples in category.defects.items():
        if not samples:
            message = (
                f"{where}: test/{anomaly_type} holds no image; expected at least 1 ({extensions}), add images or "
                "delete the empty folder."
            )
            raise SeasError(message)


def _read_type(root: Path, folder: Path) -> tuple[DefectSample, ...]:
    mask_folder = root / "ground_truth" / folder.name
    masks = {path.stem: path for path in list_images(mask_folder)}
    samples = []
    for image in list_images(folder):
        mask = masks.get(f"{image.stem}_mask") or masks.get(image.stem)
        if mask is None:
            message = (
                f"{image}: its mask is missing; expected {mask_folder.relative_to(root)}/{image.stem}_mask.png below "
                f"{root}, add it or take the image away."
            )
            raise SeasError(message)
        samples.append(DefectSample(image=image, mask=mask, anomaly_type=folder.name))
    return tuple(samples)
