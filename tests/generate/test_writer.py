# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from seas_aug.artifact.record import Record
from seas_aug.data.decode import read_mask, read_native
from seas_aug.errors import SeasError
from seas_aug.generate.writer import PairWriter, pairs_made, read_manifest

MADE_FROM = Record(code="1", model="a", settings={})
PICTURE, MASK = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.uint8)


def test_empty_masks_are_refused(tmp_path):
    writer = PairWriter(tmp_path / "other", MADE_FROM)
    for folder, mask in [("crack", None), ("crack", MASK * 0), ("good", MASK)]:
        with pytest.raises(ValueError, match="needs a mask"):
            writer.write(folder, 0, PICTURE, mask, PICTURE, {})


def test_file_names_have_three_digits_or_as_many_as_they_need(tmp_path):
    writer = PairWriter(tmp_path / "out", MADE_FROM)
    for index in (7, 12345):
        writer.write("crack", index, PICTURE, MASK, PICTURE, {})
    assert [entry["file"] for entry in writer.entries] == ["test/crack/007.png", "test/crack/12345.png"]


def test_manifest_of_no_generated_folder(tmp_path):
    with pytest.raises(SeasError, match=r"no manifest\.jsonl"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("shape", [(5, 9), (5, 9, 3), (5, 9, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_depth_and_channel_comes_back_bit_for_bit(tmp_path, shape, dtype):
    rng = np.random.default_rng(0)
    image, reference = (rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True) for _ in range(2))
    mask = rng.integers(0, 2, shape[:2], np.uint8)
    writer = PairWriter(tmp_path / "out", MADE_FROM)
    writer.write("crack", 0, image, mask, reference, {})
    writer.write("good", 0, image, None, reference, {})
    pair, normal = read_manifest(tmp_path / "out")
    for entry in (pair, normal):
        for key, expected in (("file", image), ("reference", reference)):
            found = read_native(tmp_path / "out" / entry[key])
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, expected)
    written = read_native(tmp_path / "out" / pair["mask"])
    assert written.dtype == np.uint8 and set(np.unique(written)) == {0, 255}
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / pair["mask"]), mask)
    assert normal["mask"] is None


def test_a_refused_seed_is_a_line_without_files(tmp_path):
    writer = PairWriter(tmp_path / "out", MADE_FROM)
    writer.write("crack", 1, PICTURE, MASK, PICTURE, {})
    writer.refuse("crack", 0, {"seed": 5, "rejected": ["seam", "seam", "empty mask"]})
    writer.refuse("hole", 0, {"seed": 6, "rejected": ["no place"]})
    for again in (writer, PairWriter(tmp_path / "out", MADE_FROM)):
        assert (again.done("crack"), again.refused("crack")) == ({1}, {0})
        assert (again.done("hole"), again.refused("hole")) == (set(), {0})
        assert again.refused_reasons("crack") == {"empty mask": 1, "seam": 2}
        assert again.refused_reasons("good") == {}
        assert again.remove_unlisted() == 0
    writer.finish()
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [(line["folder"], line["index"]) for line in lines] == [("crack", 0), ("crack", 1), ("hole", 0)]
    assert lines[0]["file"] is lines[0]["mask"] is lines[0]["reference"] is None
    assert lines[0]["rejected"] == ["seam", "seam", "empty mask"] and lines[0]["seed"] == 5


def test_a_repeated_reference_is_one_file(tmp_path):
    writer = PairWriter(tmp_path / "out", MADE_FROM)
    other = PICTURE + np.uint8(9)
    for index, (pixels, name) in enumerate([(PICTURE, "a"), (other, "b"), (PICTURE, "a"), (PICTURE, None)]):
        writer.write("crack", index, PICTURE, MASK, pixels, {"reference_source": name})
    files = [tmp_path / "out" / entry["reference"] for entry in writer.entries]
    assert files[0].samefile(files[2])
    assert not files[0].samefile(files[1]) and not files[0].samefile(files[3])
    for file, pixels in zip(files, (PICTURE, other, PICTURE, PICTURE), strict=True):
        np.testing.assert_array_equal(read_native(file), pixels)
    for file in writer.retire("crack", 0):
        file.unlink()
    assert files[2].is_file()
    writer.write("crack", 4, PICTURE, MASK, PICTURE, {"reference_source": "a"})  # the first one is gone
    np.testing.assert_array_equal(read_native(tmp_path / "out" / writer.entries[-1]["reference"]), PICTURE)


def test_references_are_copied_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(type(tmp_path), "hardlink_to", refuse)
    writer = PairWriter(tmp_path / "out", MADE_FROM)
    for index in range(2):
        writer.write("crack", index, PICTURE, MASK, PICTURE + np.uint8(3), {"reference_source": "a"})
    for entry in writer.entries:
        np.testing.assert_array_equal(read_native(tmp_path / "out" / entry["reference"]), PICTURE + 3)


def test_pairs_ever_made_are_counted_without_refused_seeds(tmp_path):
    writer = PairWriter(tmp_path / "out", MADE_FROM)
    for index in (0, 2, 3, 5):
        writer.write("crack", index, PICTURE, MASK, PICTURE, {})
    for folder, index in (("crack", 1), ("crack", 4), ("crack", 6), ("hole", 0)):
        writer.refuse(folder, index, {"rejected": ["seam"]})
    writer.retire("crack", 0)
    assert pairs_made(tmp_path / "out") == {"crack": 4}
    writer.write("crack", 7, PICTURE, MASK, PICTURE, {})
    assert pairs_made(tmp_path / "out") == {"crack": 5}


@pytest.mark.parametrize("key", ["file", "mask", "reference"])
@pytest.mark.parametrize("path", ["../precious.png", "{there}/precious.png", "test/../../precious.png"])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(tmp_path, key, path):
    """A stream deletes what its manifest names, and a detector reads it."""
    folder, precious = tmp_path / "out", tmp_path / "precious.png"
    PairWriter(folder, MADE_FROM).write("crack", 0, PICTURE, MASK, PICTURE, {})
    precious.write_bytes(b"mine")
    entry = json.loads((folder / "manifest.jsonl").read_text())
    (folder / "manifest.jsonl").write_text(json.dumps({**entry, key: path.format(there=tmp_path)}) + "\n")
    for use in (read_manifest, pairs_made, lambda output: PairWriter(output, MADE_FROM)):
        with pytest.raises(SeasError, match=r"manifest\.jsonl: names .*precious\.png"):
            use(folder)
    assert precious.read_bytes() == b"mine"
