# SPDX-License-Identifier: Apache-2.0
"""Normal images that pairs are drawn on: kept as they are, found by name, and checked."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from seas_aug.config import DrawConfig
from seas_aug.data.decode import write_native
from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.draw.references import (
    ArrayReferences,
    FileReferences,
    are_grey,
    is_grey_picture,
    load_references,
    named,
    own_references,
)
from seas_aug.errors import SeasError
from tests.draw.helpers import same_pixels
from tests.finetune.recording import files

RANDOM = np.random.default_rng(0)
PICTURES = {
    "grey.png": RANDOM.integers(0, 256, (20, 30), dtype=np.uint8),
    "colour.png": RANDOM.integers(0, 256, (31, 22, 3), dtype=np.uint8),
    "alpha.png": RANDOM.integers(0, 256, (9, 40, 4), dtype=np.uint8),
    "sixteen.png": RANDOM.integers(0, 65536, (25, 25), dtype=np.uint16),
    "sixteen colours.png": RANDOM.integers(0, 65536, (12, 13, 3), dtype=np.uint16),
}


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "good ü"
    folder.mkdir()
    for name, picture in PICTURES.items():
        (folder / name).write_bytes(write_native(picture))
    photo = RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    (folder / "photo.JPG").write_bytes(cv2.imencode(".jpg", photo)[1].tobytes())
    (folder / "scan.tif").write_bytes(cv2.imencode(".tif", photo)[1].tobytes())
    return sorted(folder.iterdir())


def test_images_are_read_as_they_are(sources):
    bank = FileReferences(sources)
    assert bank.names == tuple(str(path) for path in sources)
    for index, path in enumerate(sources):
        if path.name in PICTURES:
            assert same_pixels(bank.native(index), PICTURES[path.name])
    assert bank.native(sources.index(sources[0].parent / "photo.JPG")).shape == (40, 50, 3)


def test_saved_files_keep_their_bytes_and_names(sources, tmp_path):
    before = FileReferences(sources)
    before.save(tmp_path / "model")
    copies = [path for path in (tmp_path / "model" / "references").iterdir() if path.suffix != ".json"]
    assert sorted(path.read_bytes() for path in copies) == sorted(path.read_bytes() for path in sources)
    after = load_references(tmp_path / "model")
    assert after.names == before.names
    for index in range(len(sources)):
        assert same_pixels(after.native(index), before.native(index))
    moved = shutil.copytree(tmp_path / "model", tmp_path / "moved")
    shutil.rmtree(tmp_path / "model")
    shutil.rmtree(sources[0].parent)
    again = load_references(moved)  # nothing leads back to where they came from
    assert again.names == before.names and again.native(0).size
    again.save(tmp_path / "second")
    assert files(tmp_path / "second") == files(moved)


def test_saved_over_itself(sources, tmp_path):
    """A model that is loaded, changed and saved into its own folder."""
    FileReferences(sources).save(tmp_path / "model")
    before = files(tmp_path / "model")
    load_references(tmp_path / "model").save(tmp_path / "model")
    assert files(tmp_path / "model") == before


def test_squares_round_trip(tmp_path):
    images = list(np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3))
    ArrayReferences(images, ("a.png", "ü/b.png")).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["references.safetensors"]
    loaded = load_references(tmp_path)
    assert all(same_pixels(loaded.native(index), images[index]) for index in range(2))
    assert loaded.names == ("a.png", "ü/b.png")
    assert load_references(tmp_path / "none") is None


@pytest.mark.parametrize(
    "text", ["", "{", "5", "[5]", '{"file": "a"}', '[{"file": "00000.png"}]', '[{"file": 5, "name": "a"}]', "\udcff"]
)
def test_a_damaged_index_gives_one_sentence(sources, tmp_path, text):
    FileReferences(sources).save(tmp_path)
    (tmp_path / "references" / "index.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SeasError, match=r"index\.json is damaged \(.*fine-tune again or copy") as error:
        load_references(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_or_damaged_file_gives_one_sentence(sources, tmp_path):
    FileReferences(sources).save(tmp_path)
    rows = json.loads((tmp_path / "references" / "index.json").read_text())
    first = tmp_path / "references" / rows[0]["file"]
    first.write_bytes(b"torn")
    with pytest.raises(SeasError, match=f"{first.name}: corrupt or no image") as error:
        load_references(tmp_path).native(0)
    assert "\n" not in str(error.value)
    first.unlink()
    with pytest.raises(SeasError, match=f"{first.name} is missing; fine-tune again or copy") as error:
        load_references(tmp_path)
    assert "\n" not in str(error.value)
    (tmp_path / "references.safetensors").write_bytes(b"no tensors")
    with pytest.raises(SeasError, match=r"references\.safetensors is damaged"):
        load_references(tmp_path)


def test_an_index_never_leads_out_of_its_folder(sources, tmp_path):
    FileReferences(sources[:1]).save(tmp_path)
    index = tmp_path / "references" / "index.json"
    rows = json.loads(index.read_text())
    (tmp_path / "secret.png").write_bytes(sources[0].read_bytes())
    index.write_text(json.dumps([{**rows[0], "file": "../secret.png"}]))
    with pytest.raises(SeasError, match=r"references.secret\.png is missing"):
        load_references(tmp_path)


def test_one_coloured_pixel_is_no_grey():
    plane = RANDOM.integers(0, 256, (8, 8), dtype=np.uint8)
    picture = np.dstack([plane] * 3 + [plane[::-1]])
    assert is_grey_picture(plane) and is_grey_picture(plane[..., None]) and is_grey_picture(picture)
    picture[4, 4, 1] ^= 1
    assert not is_grey_picture(picture) and not is_grey_picture(picture[..., :3].astype(np.uint16) * 257)
    assert are_grey(ArrayReferences([plane] * 40, [str(index) for index in range(40)]))
    assert not are_grey(ArrayReferences([plane, picture], ["a", "b"]))


def test_names():
    bank = ArrayReferences([np.zeros((2, 2), np.uint8)] * 4, ["good/a.png", "good/b.png", "more/b.png", "c.png"])
    assert named(bank, None) == [0, 1, 2, 3]
    assert named(bank, ["c.png", "a.png", "more/b.png"]) == [3, 0, 2]
    with pytest.raises(SeasError, match=r"names b\.png, which 2 of the model's 4 normal images are called"):
        named(bank, ["b.png"])
    with pytest.raises(SeasError, match=r"names d\.png, which 0 of .* such as a\.png"):
        named(bank, ["d.png"])


def test_own_images():
    images = [*PICTURES.values(), np.zeros((7, 8, 1), np.uint8)]
    bank = own_references(images, None)
    assert bank.names[:2] == ("references[0]", "references[1]") and len(bank.names) == len(images)
    assert all(same_pixels(bank.native(index), image.squeeze()) for index, image in enumerate(images))
    assert [bank.size(index) for index in range(len(images))] == [image.shape[:2] for image in images]
    for wrong in ([], [np.zeros((4, 4), np.float32)], [np.zeros((4, 4, 2), np.uint8)], [np.zeros(4, np.uint8)]):
        with pytest.raises(SeasError, match="references"):
            own_references(wrong, None)
    with pytest.raises(SeasError, match="30x20 pixels; this model sees whole images, give 25x25"):
        own_references([PICTURES["sixteen.png"], PICTURES["grey.png"]], (25, "squash"))


def test_a_model_keeps_them(window_run, window_category, tmp_path):
    pipe = SeaSPipeline.from_pretrained(window_run)
    originals = sorted((window_category / "train" / "good").iterdir())
    kept = sorted((window_run / "model" / "references").glob("*.png"))
    assert [path.read_bytes() for path in kept] == [path.read_bytes() for path in originals]
    assert pipe.num_references == 4 and pipe.check(DrawConfig(references=("002.png",))) == [2]
    pipe.save_pretrained(tmp_path / "copy")
    once, there = files(tmp_path / "copy"), files(window_run / "model")
    assert sorted(once) == sorted(there)
    for name, data in there.items():
        assert once[name] == data or not name.startswith(("references", "few_shot", "unet", "vae"))
    again = SeaSPipeline.from_pretrained(tmp_path / "copy")
    again.save_pretrained(tmp_path / "copy")
    assert files(tmp_path / "copy") == once
