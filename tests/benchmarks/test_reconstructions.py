# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from benchmarks import reconstructions
from benchmarks.reconstructions import draw_sheet, main, rendered_defects
from seas_aug.base.load import load_base
from seas_aug.base.renderer.defects import DEFECTS


def test_rendered_defects_of_every_kind():
    found = rendered_defects(64, 2)
    assert set(found) == set(DEFECTS)
    assert all(pictures.shape == (2, 3, 64, 64) for pictures in found.values())
    again = rendered_defects(64, 2)
    assert all(torch.equal(pictures, again[name]) for name, pictures in found.items())
    assert min(float(pictures.min()) for pictures in found.values()) >= -1


def test_sheet_holds_original_and_decoded_pixels(tmp_path, monkeypatch):
    """One picture, enlarged twice: its pixels stand on the sheet, and below them those of the autoencoder."""
    monkeypatch.setattr(reconstructions, "encode_latents", lambda vae, images: images)
    monkeypatch.setattr(reconstructions, "decode_latents", lambda vae, latents: -latents)
    picture = torch.full((1, 3, 16, 16), 0.2)
    picture[0, :, 4, 5] = -0.6
    draw_sheet(tmp_path / "sheet.png", SimpleNamespace(), {"pit": picture}, enlarge=2)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., 0]
    expected = np.full((32, 32), 153, np.uint8)
    expected[8:10, 10:12] = 51
    found = cv2.matchTemplate(sheet, expected, cv2.TM_SQDIFF)
    _, _, (left, top), _ = cv2.minMaxLoc(found)
    assert np.array_equal(sheet[top : top + 32, left : left + 32], expected)
    below = sheet[top + 34 : top + 66, left : left + 32]
    assert np.array_equal(below, 255 - expected)


def test_command(category_folder, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main([f"--data.root={category_folder}", f"--output={sheet}", "--columns=2"]) == 0
    assert sheet.is_file()
    assert str(sheet) in capsys.readouterr().out
    assert cv2.imread(str(sheet)).shape[0] > 3 * load_base("embedded").image_size


@pytest.mark.parametrize("wrong", ["--columns=0", "--enlarge=0", "--data.root=nowhere", "--anomaly_type=rust"])
def test_mistakes(wrong, tmp_path, capsys):
    assert main([wrong, f"--output={tmp_path / 'sheet.png'}"]) == 2
    lines = capsys.readouterr().err.splitlines()  # before it may stand the loading bar of transformers
    assert lines[-1].startswith("reconstructions: error:")
    assert sum("error" in line for line in lines) == 1
    assert not (tmp_path / "sheet.png").exists()
