# SPDX-License-Identifier: Apache-2.0
"""The same rendered pictures in the folder layout of each anomalib datamodule.

Every layout has two anomaly types with four defects each (one type where the data set knows no types), six training
normals and four test normals, except where the data set divides its normals itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from anomalib.data import BMAD, MPDD, VAD, AutoVI, BTech, Folder, Kolektor, MVTec3D, MVTecAD, Tabular, Visa
from anomalib.data.datamodules.image import MVTecAD2, MVTecLOCO, RealIAD

from tests.anomalib_plugin.rendered import TYPES, defect, normal, write

NORMALS, TEST_NORMALS, DEFECTS = 6, 4, 4


def _lay_out(normals: Path, test_normals: Path, of_type: Callable[[str], tuple[Path, Path, str]], ending: str) -> None:
    """Write all pictures; ``of_type`` gives a type's image folder, mask folder and ending of its masks."""
    for index in range(NORMALS):
        write(normals / f"{index:03d}{ending}", normal(index))
    for index in range(TEST_NORMALS):
        write(test_normals / f"{100 + index:03d}{ending}", normal(100 + index))
    for offset, name in enumerate(TYPES):
        images, masks, mask_ending = of_type(name)
        for index in range(DEFECTS):
            image, mask = defect(200 + 50 * offset + index, name)
            stem = f"{200 + 50 * offset + index:03d}"
            write(images / f"{stem}{ending}", image)
            write(masks / f"{stem}{mask_ending}", mask)


def _lay_out_as_mvtec_ad(part: Path, all_types: str | None = None) -> None:
    """Write MVTec AD's own layout; ``all_types`` is the one folder of a data set that knows no types."""
    _lay_out(
        part / "train" / "good",
        part / "test" / "good",
        lambda name: (part / "test" / (all_types or name), part / "ground_truth" / (all_types or name), "_mask.png"),
        ".png",
    )


def mvtec_ad(root: Path) -> Any:
    _lay_out_as_mvtec_ad(root / "part")
    return MVTecAD(root=root, category="part", num_workers=0)


def folder(root: Path) -> Any:
    mvtec_ad(root)
    return Folder(
        name="part",
        root=root / "part",
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{name}" for name in TYPES],
        mask_dir=[f"ground_truth/{name}" for name in TYPES],
        num_workers=0,
        seed=0,
    )


def tabular(root: Path) -> Any:
    mvtec_ad(root)
    part = root / "part"
    rows = [
        {"image_path": str(path), "label_index": int(name != "good"), "mask_path": mask, "split": split}
        for split, name in [("train", "good"), ("test", "good"), *(("test", name) for name in TYPES)]
        for path in sorted((part / split / name).iterdir())
        for mask in ["" if name == "good" else str(part / "ground_truth" / name / f"{path.stem}_mask.png")]
    ]
    return Tabular(name="part", samples=rows, num_workers=0, val_split_mode="same_as_test")


def visa(root: Path) -> Any:
    part = root / "visa_pytorch" / "candle"
    _lay_out(
        part / "train" / "good",
        part / "test" / "good",
        lambda _: (part / "test" / "bad", part / "ground_truth" / "bad", ".png"),
        ".JPG",
    )
    return Visa(root=root, category="candle", num_workers=0)


def btech(root: Path) -> Any:
    _lay_out(
        root / "01" / "train" / "ok",
        root / "01" / "test" / "ok",
        lambda _: (root / "01" / "test" / "ko", root / "01" / "ground_truth" / "ko", ".png"),
        ".bmp",
    )
    return BTech(root=root, category="01", num_workers=0)


def mvtec_3d(root: Path) -> Any:
    part = root / "bagel"
    _lay_out(
        part / "train" / "good" / "rgb",
        part / "test" / "good" / "rgb",
        lambda name: (part / "test" / name / "rgb", part / "test" / name / "gt", ".png"),
        ".png",
    )
    for image in sorted(part.rglob("rgb/*.png")):
        depth = image.parents[1] / "xyz" / f"{image.stem}.tiff"
        write(depth, np.zeros((64, 64, 3), np.float32))
    for image in sorted((part / "test" / "good" / "rgb").iterdir()):
        write(part / "test" / "good" / "gt" / image.name, np.zeros((64, 64), np.uint8))
    return MVTec3D(root=root, category="bagel", num_workers=0)


def mvtec_ad_2(root: Path) -> Any:
    part = root / "can"
    _lay_out(
        part / "train" / "good",
        part / "test_public" / "good",
        lambda _: (part / "test_public" / "bad", part / "test_public" / "ground_truth" / "bad", "_mask.png"),
        ".png",
    )
    write(part / "validation" / "good" / "150.png", normal(150))
    return MVTecAD2(root=root, category="can", num_workers=0)


def mvtec_loco(root: Path) -> Any:
    part = root / "pushpins"
    names = dict(zip(TYPES, ("logical_anomalies", "structural_anomalies"), strict=True))
    _lay_out(
        part / "train" / "good",
        part / "test" / "good",
        lambda name: (part / "test" / names[name], part / "masks" / names[name], ".png"),
        ".png",
    )
    for mask in sorted((part / "masks").rglob("*.png")):  # a folder of masks for each image
        pixels = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
        write(part / "ground_truth" / mask.parent.name / mask.stem / "000.png", pixels)
        mask.unlink()
    write(part / "ground_truth" / "logical_anomalies" / "203" / "001.png", np.full((64, 64), 255, np.uint8))
    write(part / "validation" / "good" / "150.png", normal(150))
    return MVTecLOCO(root=root, category="pushpins", num_workers=0)


def real_iad(root: Path) -> Any:
    # realiad_256/mint/NG/<type>/<item>/<view>.jpg, two views of each item
    part, entries = root / "realiad_256" / "mint", {"train": [], "test": []}

    def add(split: str, path: str, image: np.ndarray, anomaly_class: str, mask: np.ndarray | None = None) -> None:
        write(part / path, image)
        mask_path = path.replace(".jpg", ".png") if mask is not None else None
        if mask_path:
            write(part / mask_path, mask)
        entries[split].append({"image_path": path, "mask_path": mask_path, "anomaly_class": anomaly_class})

    for index in range(NORMALS):
        add("train", f"OK/S{index // 2:04d}/mint_OK_{index:03d}.jpg", normal(index), "OK")
    for index in range(TEST_NORMALS):
        add("test", f"OK/S{10 + index // 2:04d}/mint_OK_{100 + index}.jpg", normal(100 + index), "OK")
    for offset, (name, code) in enumerate(zip(TYPES, ("AK", "HS"), strict=True)):
        for index in range(DEFECTS):
            seed = 200 + 50 * offset + index
            image, mask = defect(seed, name)
            add("test", f"NG/{code}/S{20 + index // 2:04d}/mint_{code}_{seed}.jpg", image, code, mask)
    for split in entries.values():
        assert len({entry["image_path"] for entry in split}) == len(split)
    table = root / "realiad_jsons" / "realiad_jsons" / "mint.json"
    table.parent.mkdir(parents=True)
    table.write_text(json.dumps(entries))
    return RealIAD(root=root, category="mint", resolution=256, num_workers=0)


def kolektor(root: Path) -> Any:
    # kos<item>/Part<view>.jpg with a mask for each image, empty where it is normal; the data set divides the normals
    for item in range(8):
        for view in range(4):
            defective = view == 1 and item < 5
            seed = 10 * item + view
            image, mask = defect(seed, "hole") if defective else (normal(seed), np.zeros((64, 64), np.uint8))
            write(root / f"kos{item:02d}" / f"Part{view}.jpg", image)
            write(root / f"kos{item:02d}" / f"Part{view}_label.bmp", mask)
    return Kolektor(root=root, num_workers=0)


def mpdd(root: Path) -> Any:
    _lay_out_as_mvtec_ad(root / "tubes")
    return MPDD(root=root, category="tubes", num_workers=0)


def vad(root: Path) -> Any:
    _lay_out_as_mvtec_ad(root / "vad", all_types="bad")
    return VAD(root=root, category="vad", num_workers=0)


def auto_vi(root: Path) -> Any:
    part = root / "pipe_clip"
    _lay_out(
        part / "train" / "good",
        part / "test" / "good",
        lambda name: (part / "test" / name, part / "masks" / name, ".png"),
        ".png",
    )
    for mask in sorted((part / "masks").rglob("*.png")):
        target = part / "ground_truth" / mask.parent.name / mask.stem / "0000.png"
        target.parent.mkdir(parents=True)
        mask.rename(target)
    return AutoVI(root=root, category="pipe_clip", num_workers=0)


def bmad(root: Path) -> Any:
    part = root / "Brain"
    _lay_out(
        part / "train" / "good",
        part / "test" / "good" / "img",
        lambda _: (part / "test" / "Ungood" / "img", part / "test" / "Ungood" / "label", ".png"),
        ".png",
    )
    for image in sorted((part / "test" / "good" / "img").iterdir()):
        write(part / "test" / "good" / "label" / image.name, np.zeros((64, 64), np.uint8))
    for index in range(2):  # a validation set of its own
        image, mask = defect(400 + index, "hole")
        write(part / "valid" / "Ungood" / "img" / f"{400 + index}.png", image)
        write(part / "valid" / "Ungood" / "label" / f"{400 + index}.png", mask)
        write(part / "valid" / "good" / "img" / f"{500 + index}.png", normal(500 + index))
        write(part / "valid" / "good" / "label" / f"{500 + index}.png", np.zeros((64, 64), np.uint8))
    return BMAD(root=root, category="Brain", num_workers=0)
