# SPDX-License-Identifier: Apache-2.0
"""The few-shot defects of a model: which there are, and how they are kept."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seas_aug.data.windows import Box
from seas_aug.draw.few_shot import FewShotDefects
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from tests.draw.helpers import same_pixels
from tests.draw.made import CRACKS, HOLES, defects, one_defect, plain
from tests.finetune.recording import files


def squares(**changes) -> FewShotDefects:
    """The same as pictures of one size, as a model of whole images keeps them."""
    known = defects(64, 160, **changes)
    return FewShotDefects(
        np.stack(known.images), np.stack(known.masks), known.anomaly_types, known.names, known.rotate, known.flip
    )


def test_every_defect_of_every_image():
    mask = np.zeros((100, 100), np.uint8)
    mask[10:20, 10:20], mask[80:84, 60:70] = 1, 1
    two = one_defect(plain(100, 100), mask)
    assert [(one.member, one.box) for one in two.defects] == [(0, Box(10, 10, 10, 10)), (0, Box(80, 60, 4, 10))]
    known = defects()
    assert len(known) == len(HOLES) + len(CRACKS) == len(known.defects)
    assert [defect.box for defect in known.of_type("hole")] == [Box(*hole) for hole in HOLES]
    assert [defect.member for defect in known.of_type("crack")] == [3, 4]
    assert known.of_type("dent") == []


def test_grey_is_what_has_no_colour_anywhere():
    known = defects()
    assert known.is_grey
    coloured = [image.copy() for image in known.images]
    coloured[2][5, 5, 0] ^= 1
    assert not FewShotDefects(coloured, known.masks, known.anomaly_types, known.names).is_grey


@pytest.mark.parametrize("make", [defects, squares])
def test_saved_and_loaded_again(make, tmp_path):
    before = make(rotate=True, flip=False)
    before.save(tmp_path)
    after = FewShotDefects.load(tmp_path)
    for name in ("images", "masks"):
        pairs = zip(getattr(before, name), getattr(after, name), strict=True)
        assert all(same_pixels(one, other) for one, other in pairs)
    for name in ("anomaly_types", "names", "rotate", "flip", "defects"):
        assert getattr(after, name) == getattr(before, name)
    assert len(after) == 5
    assert FewShotDefects.load(tmp_path / "elsewhere") is None
    once = files(tmp_path)
    after.save(tmp_path)
    assert files(tmp_path) == once
    (tmp_path / "second").mkdir()
    after.save(tmp_path / "second")
    assert files(tmp_path / "second") == once


def test_images_of_different_sizes_and_kinds(tmp_path):
    images = [plain(40, 60), plain(90, 30)]
    masks = [np.ones((40, 60), np.uint8), np.eye(90, 30, dtype=np.uint8)]
    FewShotDefects(images, masks, ("a", "b"), ("x.png", "ü.png")).save(tmp_path)
    loaded = FewShotDefects.load(tmp_path)
    assert [image.shape for image in loaded.images] == [(40, 60, 3), (90, 30, 3)]
    assert all(same_pixels(one, other) for one, other in zip(loaded.masks, masks, strict=True))
    assert loaded.names == ("x.png", "ü.png")


def test_a_damaged_safetensors_file(tmp_path):
    (tmp_path / "few_shot.safetensors").write_bytes(b"no tensors")
    with pytest.raises(SeasError, match=r"few_shot\.safetensors is damaged"):
        FewShotDefects.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "5", "[]", '{"names": ["a"]}', '{"names": 5, "types": []}'])
def test_a_damaged_index(tmp_path, text):
    defects().save(tmp_path)
    (tmp_path / "few_shot" / "index.json").write_text(text)
    with pytest.raises(SeasError, match=r"index\.json is damaged") as error:
        FewShotDefects.load(tmp_path)
    assert "\n" not in str(error.value)


def test_an_index_whose_lists_do_not_belong_together(tmp_path):
    defects().save(tmp_path)
    index = tmp_path / "few_shot" / "index.json"
    plain_values = json.loads(index.read_text())
    index.write_text(json.dumps({**plain_values, "types": plain_values["types"][:2]}))
    with pytest.raises(SeasError, match=r"index\.json is damaged"):
        FewShotDefects.load(tmp_path)


def test_a_missing_or_damaged_picture(tmp_path):
    defects().save(tmp_path)
    picture, mask = (tmp_path / "few_shot" / name for name in ("00001.png", "00003_mask.png"))
    picture.write_bytes(b"torn")
    with pytest.raises(SeasError, match=r"00001\.png: corrupt or no image"):
        FewShotDefects.load(tmp_path).is_grey  # noqa: B018 - reads every picture
    mask.unlink()
    with pytest.raises(SeasError, match=r"00003_mask\.png is missing; fine-tune again or copy") as error:
        FewShotDefects.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_model_keeps_them_at_their_own_size(window_run, run_folder):
    known = SeaSPipeline.from_pretrained(window_run).few_shot
    assert known.anomaly_types == ("crack", "crack", "hole", "hole", "hole")
    assert {image.shape for image in known.images} == {(120, 160, 3)}
    assert len(known.of_type("crack")) == 3  # one image has two
    assert SeaSPipeline.from_pretrained(run_folder).few_shot is None  # that run copies none
