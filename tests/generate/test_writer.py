# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from seas_aug.errors import SeasError
from seas_aug.generate.writer import PairWriter, read_manifest


def test_empty_masks_are_refused(tmp_path):
    writer = PairWriter(tmp_path / "other", {})
    picture = torch.zeros(3, 4, 4)
    for folder, mask in [("crack", None), ("crack", torch.zeros(1, 4, 4)), ("good", torch.ones(1, 4, 4))]:
        with pytest.raises(ValueError, match="needs a mask"):
            writer.write(folder, 0, picture, mask, picture, {})


def test_digits(tmp_path):
    picture, mask = torch.zeros(3, 4, 4), torch.ones(1, 4, 4)
    writer = PairWriter(tmp_path / "out", {}, num_images=1001)
    writer.write("crack", 7, picture, mask, picture, {})
    assert writer.entries[0]["file"] == "test/crack/0007.png"
    PairWriter(tmp_path / "out", {}, num_images=5).write("crack", 8, picture, mask, picture, {})
    assert (tmp_path / "out" / "test" / "crack" / "0008.png").is_file()
    with pytest.raises(SeasError, match="4 digits, too few for 20000 images"):
        PairWriter(tmp_path / "out", {}, num_images=20000)


def test_manifest_of_no_generated_folder(tmp_path):
    with pytest.raises(SeasError, match=r"no manifest\.jsonl"):
        read_manifest(tmp_path)
