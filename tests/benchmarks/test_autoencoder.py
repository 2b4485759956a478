# SPDX-License-Identifier: Apache-2.0
import json
import math

import pytest
import torch

from benchmarks.autoencoder import bicubic4, main, psnr


def test_psnr_by_hand():
    truth = torch.zeros(3, 2, 2)
    picture = truth.clone()
    picture[:, 0, 0] = 0.2
    mask = torch.zeros(1, 2, 2)
    mask[0, 0, 0] = 1
    assert psnr(picture, truth) == pytest.approx(10 * math.log10(4 / (0.04 / 4)), abs=1e-4)
    assert psnr(picture, truth, mask) == pytest.approx(10 * math.log10(4 / 0.04), abs=1e-4)


def test_bicubic_keeps_a_flat_picture():
    picture = torch.full((3, 16, 16), 0.3)
    torch.testing.assert_close(bicubic4(picture), picture)


def test_command(category_folder, tmp_path, capsys):
    output = tmp_path / "result.json"
    assert main(["--data", str(category_folder), "--output", str(output)]) == 0
    result = json.loads(output.read_text())
    assert result["base"] == "embedded-v6"
    figures = result["categories"][category_folder.name]
    assert figures["psnr"]["model"] > 20
    assert category_folder.name in capsys.readouterr().out
    assert main(["--data", str(category_folder), "--image_size=64", "--output", str(output)]) == 0
    small = json.loads(output.read_text())
    assert (result["image_size"], small["image_size"]) == (128, 64)
    assert small["categories"] != result["categories"]


def test_missing_folder(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
