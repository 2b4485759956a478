# SPDX-License-Identifier: Apache-2.0
import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seas_aug.data.category import Category, DefectSample, read_mvtec_folder
from seas_aug.data.few_shot import _parse_number, content_hash, select_few_shot
from seas_aug.data.groups import read_groups
from seas_aug.data.split_file import load_split, save_split
from seas_aug.errors import SeasError
from tests.data.helpers import SHARED, make_category, write_groups


def _names(samples):
    return [sample.image.name for sample in samples]


def _write_list(path: Path, content) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def _check(words, *arguments):
    with pytest.raises(SeasError) as caught:
        select_few_shot(*arguments)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_fraction_takes_the_first_by_name(tmp_path):
    split = select_few_shot(read_mvtec_folder(make_category(tmp_path / "t")), "0.3333")
    assert _names(split.few_shot["crack"]) == ["000.png"]
    assert _names(split.few_shot["hole"]) == ["000.png", "001.png"]
    assert _names(split.held_out["hole"]) == ["002.png", "003.png", "004.png", "005.png"]
    assert split.excluded == ()
    assert split.anomaly_types == ("crack", "hole")
    assert len(split.samples) == 3


@pytest.mark.parametrize("number", [2, 5, 100])
def test_number_of_images(tmp_path, number):
    category = read_mvtec_folder(make_category(tmp_path / "t"))
    split = select_few_shot(category, str(number))
    for name, samples in category.defects.items():
        assert split.few_shot[name] == samples[:number]
        assert split.held_out[name] == samples[number:]


def test_number_of_images_takes_whole_groups(tmp_path):
    root = make_category(tmp_path / "t")
    rows = [f"test/hole,{index:03d}.png,{'first' if index < 3 else index}" for index in range(6)]
    (root / "groups.csv").write_text("\n".join(["folder,file,group", *rows]) + "\n")
    split = select_few_shot(read_mvtec_folder(root), "2")
    assert _names(split.few_shot["hole"]) == ["000.png", "001.png", "002.png"]


@pytest.mark.parametrize("text,share", [("0.3333", "1/3"), ("0.333", "1/3"), ("1/3", "1/3"), ("0.37", "37/100")])
def test_rounded_fractions_mean_the_simple_ones(text, share):
    assert str(_parse_number(text)) == share


@pytest.mark.parametrize("text", ["0", "-0.1", "1.5", "-5"])
def test_bad_number(tmp_path, text):
    _check([text, "above 0 and up to 1"], read_mvtec_folder(make_category(tmp_path / "t")), text)


def test_list_and_types_left_out(tmp_path):
    category = read_mvtec_folder(make_category(tmp_path / "t"))
    listed = {"hole": {"few_shot": ["004.png", "001.png"], "test": ["000.png"], "groups": 3}}
    split = select_few_shot(category, _write_list(tmp_path / "split.json", listed))
    assert list(split.few_shot) == ["hole"]
    assert _names(split.few_shot["hole"]) == ["001.png", "004.png"]
    assert len(split.held_out["crack"]) == 3


@pytest.mark.parametrize(
    "content,words",
    [
        ({"dent": {"few_shot": ["000.png"]}}, ["unknown anomaly type dent", "crack, hole"]),
        ({"hole": {"few_shot": ["099.png"]}}, ["hole has no image 099.png"]),
        ({"hole": {"few_shot": []}}, ["selects no image"]),
        ({}, ["selects no image"]),
        ({"hole": ["000.png"]}, ["hole has no list of file names"]),
        ([1], ["holds a list"]),
        ("{", ["no valid JSON"]),
    ],
)
def test_bad_list(tmp_path, content, words):
    path = _write_list(tmp_path / "split.json", content)
    _check([path, *words], read_mvtec_folder(make_category(tmp_path / "t")), path)


def test_missing_list(tmp_path):
    _check(["neither a number nor a file"], read_mvtec_folder(make_category(tmp_path / "t")), "no_such.json")


def test_groups_are_kept_whole_across_folders(tmp_path):
    root = make_category(tmp_path / "t")
    rows = [("test/hole", f"00{i}.png", "A") for i in (0, 3)] + [("test/crack", "002.png", "A")]
    write_groups(root, [*rows, ("test/good", "001.png", "A"), ("test/hole", "001.png", "B")])
    split = select_few_shot(read_mvtec_folder(root), "0.3333")
    assert _names(split.few_shot["hole"]) == ["000.png", "003.png"]  # found in the category's own groups.csv
    assert sorted(path.parent.name for path in split.excluded) == ["crack", "good"]
    assert _names(split.held_out["crack"]) == ["001.png"]


def test_list_that_divides_a_group(tmp_path):
    root = make_category(tmp_path / "t")
    groups = write_groups(root, [("test/hole", "000.png", "A"), ("test/hole", "003.png", "A")])
    path = _write_list(tmp_path / "split.json", {"hole": {"few_shot": ["003.png"]}})
    _check(["divides group A", "003.png", "000.png"], read_mvtec_folder(root), path, groups)


@pytest.mark.parametrize(
    "text,words",
    [
        ("folder,file\n", ["column group is missing"]),
        ("folder,file,group\ntest/hole,000.png,A\ntest/hole,000.png,B\n", ["in the groups A and B"]),
        ("folder,file,group\ntest/dent,000.png,A\n", ["lists none"]),
    ],
)
def test_bad_groups(tmp_path, text, words):
    path = tmp_path / "my.csv"
    path.write_text(text)
    _check([str(path), *words], read_mvtec_folder(make_category(tmp_path / "t")), "0.5", path)


def test_missing_groups(tmp_path):
    _check(["cannot be read"], read_mvtec_folder(make_category(tmp_path / "t")), "0.5", tmp_path / "no.csv")


_membership = st.lists(st.sampled_from("ABCD"), min_size=1, max_size=8)


@given(st.dictionaries(st.sampled_from(["a", "b", "good"]), _membership, min_size=1), st.fractions(0.01, 1))
def test_no_group_is_on_both_sides(tmp_path_factory, folders, fraction):
    defects = {name: groups for name, groups in folders.items() if name != "good"}
    if not defects:
        return
    root = Path("/data/t")
    group_of = {root / "test" / n / f"{i}.png": g for n, groups in folders.items() for i, g in enumerate(groups)}
    category = Category(
        name="t",
        normals=(root / "n.png",) * 2,
        defects={
            n: tuple(DefectSample(p := root / "test" / n / f"{i}.png", p, n) for i in range(len(defects[n])))
            for n in sorted(defects)
        },
        test_others=tuple(path for path in group_of if path.parent.name == "good"),
    )
    folder = tmp_path_factory.mktemp("groups")
    rows = [(f"test/{path.parent.name}", path.name, group) for path, group in group_of.items()]
    split = select_few_shot(category, str(fraction), write_groups(folder, rows))
    few_shot = [sample.image for sample in split.samples]
    held_out = [sample.image for samples in split.held_out.values() for sample in samples]
    tested = [*held_out, *(path for path in category.test_others if path not in split.excluded)]
    assert not {group_of[path] for path in few_shot} & {group_of[path] for path in tested}
    assert sorted([*few_shot, *tested, *split.excluded]) == sorted(group_of)
    assert all(split.few_shot[name] for name in category.defects)


def test_hash_is_of_the_picture(tmp_path):
    root = make_category(tmp_path / "t", types={"crack": 2})
    import cv2

    original = root / "test" / "crack" / "000.png"
    copy = tmp_path / "copy.bmp"
    copy.write_bytes(cv2.imencode(".bmp", cv2.imread(str(original)))[1].tobytes())
    assert content_hash(original) == content_hash(copy)
    assert content_hash(original) != content_hash(root / "test" / "crack" / "001.png")


def test_saved_split_round_trip(tmp_path):
    root = make_category(tmp_path / "t")
    write_groups(root, [("test/hole", "000.png", "A"), ("test/good", "000.png", "A")])
    category = read_mvtec_folder(root)
    split = select_few_shot(category, "0.3333")
    save_split(tmp_path / "run" / "split.json", split, category.normals[:2])
    saved = load_split(tmp_path / "run" / "split.json")
    assert (saved.split, saved.normals) == (split, category.normals[:2])
    assert saved.fine_tuning_hashes == {content_hash(p) for p in [*(s.image for s in split.samples), *saved.normals]}
    assert saved.forbidden_hashes - saved.fine_tuning_hashes == {content_hash(root / "test" / "good" / "000.png")}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"few_shot": 3}'])
def test_damaged_split(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(SeasError, match="no split of a run"):
        load_split(path)


@pytest.mark.parametrize("name", ["magnetic_tile", "screw", "ball_screw", "road_crack"])
def test_shared_splits_keep_their_groups(name):
    root = SHARED / name
    if not root.is_dir():
        pytest.skip(f"{root} is not there: the shared data lies beside a developer's checkout only")
    category = read_mvtec_folder(root)
    split = select_few_shot(category, str(root / "split.json"))
    wanted = json.loads((root / "split.json").read_text())
    groups = read_groups(root / "groups.csv")
    taken = {groups.of(sample.image) for sample in split.samples}
    for anomaly_type, entry in wanted.items():
        assert _names(split.few_shot[anomaly_type]) == sorted(entry["few_shot"])
        assert _names(split.held_out[anomaly_type]) == sorted(entry["test"])
        assert all(groups.of(sample.image) not in taken for sample in split.held_out[anomaly_type])
    with (root / "groups.csv").open() as file:
        good = [
            row for row in csv.DictReader(file) if row["folder"] == "test/good" and f"group {row['group']}" in taken
        ]
    assert len(split.excluded) == len(good)
