# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import torch

from seas_aug.data.category import DefectSample
from seas_aug.report.closeup import Closeup, jpeg_of, whole_picture


def write(path: Path, pixels: np.ndarray) -> Path:
    cv2.imwrite(str(path), pixels)
    return path


def test_image_mask_and_map_show_the_same_place(tmp_path: Path) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    mask = np.zeros((200, 300), np.uint8)
    mask[120:130, 240:260] = 255
    image[mask > 0] = 255
    sample = DefectSample(write(tmp_path / "a.png", image), write(tmp_path / "m.png", mask), "hole")
    part = Closeup.of_sample(sample, (64, 90), 64)
    assert part.place.side == 64 and part.shape == (200, 300)
    assert np.array_equal(part.image(sample.image), part.mask(sample.mask))
    heat = part.heat(torch.from_numpy(mask / 255.0)[None])
    bright = heat.astype(int).sum(-1) > 400
    assert np.array_equal(bright, part.mask(sample.mask)[..., 0] > 0)
    whole = Closeup.of_sample(sample, (), 64)
    assert whole.place.side == 200


def test_whole_picture_leaves_the_defect_itself_alone(tmp_path: Path) -> None:
    image = np.full((60, 90, 3), 80, np.uint8)
    mask = np.zeros((60, 90), np.uint8)
    mask[20:30, 40:60] = 255
    shown = whole_picture(write(tmp_path / "a.png", image), write(tmp_path / "m.png", mask))
    assert shown.shape == image.shape and (shown[mask > 0] == 80).all()
    assert (shown != 80).any(-1).sum() > 40
    assert jpeg_of(shown).startswith(b"\xff\xd8")
