# SPDX-License-Identifier: Apache-2.0
import dataclasses
import errno
import json
import logging
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from seas_aug.artifact.lock import LOCK
from seas_aug.artifact.model_hash import model_hash
from seas_aug.config import DrawConfig
from seas_aug.data.decode import read_mask, read_native
from seas_aug.errors import SeasError
from seas_aug.generate.run import generate, plain_settings
from seas_aug.generate.writer import read_manifest
from tests.generate.fake import ALL, FakePipeline, make_run, tree


class KillError(BaseException):
    """Stands for the process being killed."""


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def _generate(run, output, **options):
    return generate(run, output, **{"num_images": 3, "pipeline": FakePipeline(), "batch_size": 2, **options})


def test_refused_settings_leave_no_folder(run, tmp_path):
    with pytest.raises(SeasError, match="strength is too high"):
        _generate(run, tmp_path / "out", settings=DrawConfig(strength=0.95))
    assert not (tmp_path / "out").exists()
    assert _generate(run, tmp_path / "out", settings=DrawConfig(strength=0.5)).made == 6


def test_layout_and_manifest(run, tmp_path):
    output = tmp_path / "out"
    pipeline = FakePipeline()
    options = {"anomaly_types": [["crack"], ["hole", "crack"]], "normal": True, "settings": DrawConfig(strength=0.5)}
    result = _generate(run, output, pipeline=pipeline, **options)
    assert (result.made, result.kept, result.counts) == (9, 0, {"crack": 3, "crack+hole": 3, "good": 3})
    expected = {"manifest.jsonl", "artifact.json"}
    for index in ("000", "001", "002"):
        expected |= {f"train/good/{index}.png", f"reference/good/good/{index}.png"}
        for name in ("crack", "crack+hole"):
            expected |= {f"test/{name}/{index}.png", f"ground_truth/{name}/{index}_mask.png"}
            expected |= {f"reference/{name}/good/{index}.png"}
    assert set(tree(output)) == expected
    entries = read_manifest(output)
    assert len(entries) == 9
    entry = entries[4]
    assert entry["file"] == "test/crack+hole/001.png"
    assert entry["mask"] == "ground_truth/crack+hole/001_mask.png"
    assert entry["anomaly_types"] == ["crack", "hole"]
    assert entry["prompt"] == "a ('crack', 'hole')" and entry["score"] == 0.5 and entry["retries"] == 0
    assert entry["rejected"] == [] and entry["copied_from"] == ["few.png"] and entry["windows"] == [[0, 0, 8]]
    assert entry["reference_source"].endswith(".png")
    assert set(entry["versions"]) == {"seas-aug", "torch", "diffusers"}
    image, mask = pipeline.image(entry["seed"]), pipeline.mask(entry["seed"])
    written = cv2.cvtColor(cv2.imread(str(output / entry["file"])), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(written, image)
    np.testing.assert_array_equal(cv2.imread(str(output / entry["mask"]), cv2.IMREAD_UNCHANGED), mask * 255)
    number = int(Path(entry["reference_source"]).stem)
    np.testing.assert_array_equal(read_native(output / entry["reference"]), pipeline.reference(number))
    assert entries[-1]["mask"] is None and entries[-1]["anomaly_types"] == []


def test_all_types_by_default_and_batch_size_changes_nothing(run, tmp_path):
    first = _generate(run, tmp_path / "1", batch_size=1)
    _generate(run, tmp_path / "8", batch_size=8)
    assert first.counts == {"crack": 3, "hole": 3}
    assert tree(tmp_path / "1") == tree(tmp_path / "8")


def test_split_comes_along(run, tmp_path):
    (run / "split.json").write_text('{"few_shot": {}}')
    _generate(run, tmp_path / "out")
    assert (tmp_path / "out" / "split.json").read_text() == '{"few_shot": {}}'


def test_growing_a_folder(run, tmp_path):
    _generate(run, tmp_path / "a", num_images=2, anomaly_types=[["hole"]])
    pipeline = FakePipeline()
    result = _generate(run, tmp_path / "a", num_images=4, normal=True, pipeline=pipeline)
    assert (result.made, result.kept) == (10, 2)
    assert pipeline.calls == [("crack", 2), ("crack", 2), ("hole", 2), (None, 2), (None, 2)]
    _generate(run, tmp_path / "b", num_images=4, normal=True)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    again = _generate(run, tmp_path / "a", num_images=4, normal=True, pipeline=pipeline)
    assert again.made == 0 and len(pipeline.calls) == 5


@pytest.mark.parametrize("refused", [{}, {"crack": (0, 2)}])
def test_killed_at_every_write(run, tmp_path, monkeypatch, refused):
    """Each flush to the disk is the last act of a process that cleans nothing up."""
    options = {"num_images": 2, "anomaly_types": [["crack"]], "normal": True, "pipeline": FakePipeline(refused)}
    _generate(run, tmp_path / "whole", **options)
    whole = tree(tmp_path / "whole")
    real, kills = os.fsync, 0
    for last in range(1000):
        output = tmp_path / "killed"
        calls = 0

        def dying(handle, last=last):
            nonlocal calls
            calls += 1
            if calls > last:
                raise KillError
            real(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", dying)
            patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
            try:
                _generate(run, output, **options)
            except KillError:
                kills += 1
        stopped = calls <= last
        (output / LOCK).unlink(missing_ok=True)  # it names this process, which is not really gone
        _generate(run, output, **options)
        assert tree(output) == whole, last
        shutil.rmtree(output)
        if stopped:
            break
    assert kills >= 20


def test_torn_manifest_at_every_byte(run, tmp_path):
    output = tmp_path / "out"
    _generate(run, output, num_images=1)
    whole = tree(output)
    data = whole["manifest.jsonl"]
    for length in range(0, len(data), 7):
        (output / "manifest.jsonl").write_bytes(data[:length])
        _generate(run, output, num_images=1)
        assert tree(output) == whole


@pytest.mark.parametrize(
    "name", ["test/crack/001.png", "ground_truth/crack/001_mask.png", "reference/crack/good/001.png"]
)
def test_a_lost_file_is_made_again(run, tmp_path, name):
    _generate(run, tmp_path / "out")
    whole = tree(tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    assert _generate(run, tmp_path / "out").made == 1
    assert tree(tmp_path / "out") == whole


def test_full_disk(run, tmp_path, monkeypatch):
    calls = 0

    def fail(handle):
        nonlocal calls
        calls += 1
        if calls > 12:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(SeasError, match="disk full; free space and run again"):
            _generate(run, tmp_path / "out")
    _generate(run, tmp_path / "out")
    _generate(run, tmp_path / "other")
    assert tree(tmp_path / "out") == tree(tmp_path / "other")


@pytest.mark.parametrize(
    "options,word",
    [
        ({"seed": 1}, "seed 0 instead of 1"),
        ({"settings": DrawConfig(strength=0.3)}, "strength None"),
        ({"settings": DrawConfig(count=2)}, "count None instead of 2"),
        ({"settings": DrawConfig(gate=False)}, "gate None instead of False"),
    ],
)
def test_other_settings_are_refused(run, tmp_path, options, word):
    _generate(run, tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(SeasError, match=f"made with other settings .*{word}.*choose another output folder"):
        _generate(run, tmp_path / "out", **options)
    assert tree(tmp_path / "out") == before


def test_another_model_is_refused(run, tmp_path):
    _generate(run, tmp_path / "out")
    (run / "model" / "unet" / "weights.safetensors").write_bytes(b"12346")
    with pytest.raises(SeasError, match=r"other settings .model"):
        _generate(run, tmp_path / "out")


def test_library_versions_do_not_change_the_hash(run):
    before = model_hash(run / "model")
    (run / "model" / "model_index.json").write_text('{"_class_name": "SeaSPipeline", "_diffusers_version": "2"}')
    assert model_hash(run / "model") == before


def test_somebodys_folder_is_left_alone(run, tmp_path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    with pytest.raises(SeasError, match="holds train, which seas-aug generate did not make"):
        _generate(run, tmp_path / "data")


def test_damaged_settings(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "artifact.json").write_text("{")
    with pytest.raises(SeasError, match="damaged"):
        _generate(run, tmp_path / "out")


def test_unknown_type(run, tmp_path):
    with pytest.raises(SeasError, match="unknown anomaly type 'dent'; expected one of crack, hole"):
        _generate(run, tmp_path / "out", anomaly_types=[["dent"]])
    assert not (tmp_path / "out").exists()


def test_no_model(tmp_path):
    with pytest.raises(SeasError, match="no such folder; expected the output folder of seas-aug finetune"):
        _generate(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(SeasError, match="no finished model"):
        _generate(tmp_path / "unfinished", tmp_path / "out")


def test_model_folder_itself(run, tmp_path):
    _generate(run / "model", tmp_path / "1")
    _generate(run, tmp_path / "2")
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_empty_masks_are_never_written(run, tmp_path):
    with pytest.raises(ValueError, match="crack 0: a defect image needs a mask that is not empty"):
        _generate(run, tmp_path / "out", pipeline=FakePipeline(empty_masks=True))
    assert not list((tmp_path / "out").rglob("*.png"))


def test_score_that_is_no_number_is_null(run, tmp_path):
    class Unscored(FakePipeline):
        def __call__(self, *arguments, **options):
            result = super().__call__(*arguments, **options)
            result.records = [dataclasses.replace(record, score=float("nan")) for record in result.records]
            return result

    _generate(run, tmp_path / "out", pipeline=Unscored())
    for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=pytest.fail)["score"] is None


def test_missing_accelerator(run, tmp_path):
    with pytest.raises(SeasError, match="accelerator is tpu"):
        _generate(run, tmp_path / "out", pipeline=None, accelerator="tpu")


def _numbers(output, folder):
    """Return the numbers of the accepted, and of the refused, images of a folder."""
    entries = [entry for entry in read_manifest(output) if entry["folder"] == folder]
    return tuple([entry["index"] for entry in entries if bool(entry["file"]) == kept] for kept in (True, False))


def test_refused_seeds_are_lines_of_the_manifest_and_not_drawn_again(run, tmp_path):
    pipeline = FakePipeline({"crack": (0, 3), "hole": (1,)})
    result = _generate(run, tmp_path / "out", num_images=4, pipeline=pipeline)
    assert result.counts == {"crack": 4, "hole": 4} and result.made == 8
    assert result.refused == {
        "crack": {"empty mask": 2, "nothing to see, seam": 2},
        "hole": {"empty mask": 1, "nothing to see, seam": 1},
    }
    assert _numbers(tmp_path / "out", "crack") == ([1, 2, 4, 5], [0, 3])
    assert _numbers(tmp_path / "out", "hole") == ([0, 2, 3, 4], [1])
    line = next(entry for entry in read_manifest(tmp_path / "out") if entry["file"] is None)
    assert (line["folder"], line["index"], line["mask"], line["reference"]) == ("crack", 0, None, None)
    assert line["rejected"] == ["empty mask", "nothing to see, seam"]
    assert line["seed"] and set(line["versions"]) == {"seas-aug", "torch", "diffusers"}
    before = tree(tmp_path / "out")
    again = FakePipeline({"crack": (0, 3), "hole": (1,)})
    assert _generate(run, tmp_path / "out", num_images=4, pipeline=again).made == 0
    assert again.asked == [] and tree(tmp_path / "out") == before
    (tmp_path / "out" / "test" / "crack" / "002.png").unlink()
    assert _generate(run, tmp_path / "out", num_images=4, pipeline=again).made == 1
    assert again.asked == [(("crack",), 2)] and tree(tmp_path / "out") == before


def test_too_few_are_a_warning_with_the_reasons(run, tmp_path, caplog):
    pipeline = FakePipeline({"crack": (*range(5), *range(6, 100))})
    with caplog.at_level(logging.WARNING):
        result = _generate(run, tmp_path / "out", num_images=3, pipeline=pipeline)
    assert result.counts == {"crack": 1, "hole": 3}
    assert _numbers(tmp_path / "out", "crack") == ([5], [0, 1, 2, 3, 4, 6])  # a fixed block: 3 and 4 more
    assert result.refused == {"crack": {"empty mask": 6, "nothing to see, seam": 6}}
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.startswith("crack: 1 pairs instead of 3") and "empty mask 6x, nothing to see, seam 6x" in text
    asked = len(pipeline.asked)
    _generate(run, tmp_path / "out", num_images=3, pipeline=pipeline)
    assert len(pipeline.asked) == asked


def test_none_at_all_is_an_error(run, tmp_path):
    pipeline = FakePipeline({"hole": ALL})
    with pytest.raises(SeasError, match=r"hole: none of 7 seeds gave a pair .*empty mask 7x.*--gate false\)\.$"):
        _generate(run, tmp_path / "out", pipeline=pipeline)
    assert _numbers(tmp_path / "out", "crack") == ([0, 1, 2], [])  # what came before stays
    assert _numbers(tmp_path / "out", "hole") == ([], list(range(7)))
    with pytest.raises(SeasError, match="hole: none of 7 seeds"):
        _generate(run, tmp_path / "out", pipeline=pipeline)
    assert len([names for names, _ in pipeline.asked if names == ("hole",)]) == 7
    assert _generate(run, tmp_path / "out", pipeline=pipeline, anomaly_types=[["crack"]]).counts == {"crack": 3}


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("refused", [(0,), (1, 2, 5), (0, 1, 2, 3, 4), tuple(range(0, 20, 2)), tuple(range(2, 20))])
def test_growing_later_is_asking_for_all_at_once(run, tmp_path, batch_size, refused):
    options = {"pipeline": FakePipeline({"crack": refused}), "batch_size": batch_size, "anomaly_types": [["crack"]]}
    for number in (1, 2, 3, 7):
        try:
            _generate(run, tmp_path / "grown", num_images=number, **options)
        except SeasError as error:
            assert "none of" in str(error)
    _generate(run, tmp_path / "once", num_images=7, **options)
    assert tree(tmp_path / "grown") == tree(tmp_path / "once")


def test_settings_of_drawing_are_kept(run, tmp_path):
    def saved(name, settings=None):
        _generate(run, tmp_path / name, num_images=1, settings=settings)
        return json.loads((tmp_path / name / "artifact.json").read_text())["settings"]

    usual = saved("usual")
    assert usual == {"seed": 0}
    chosen = DrawConfig(
        strength=0.2, count=(1, 3), size=(4, 9), severity=0.5, references=("a.png",), gate=False, copied_share=0.5
    )
    assert saved("chosen", chosen) == {
        **usual,
        "strength": 0.2,
        "count": [1, 3],
        "size": [4.0, 9.0],
        "severity": 0.5,
        "references": ["a.png"],
        "gate": False,
        "copied_share": 0.5,
    }
    assert _generate(run, tmp_path / "chosen", num_images=1, settings=chosen).made == 0


@pytest.mark.parametrize("name", ["region", "masks"])
def test_region_and_masks_count_by_their_content(run, tmp_path, name):
    one, other, folder = tmp_path / "one.png", tmp_path / "other.png", tmp_path / "folder"
    cv2.imwrite(str(one), np.ones((8, 8), np.uint8))
    shutil.copy(one, other)
    settings = DrawConfig(**{name: one})
    assert _generate(run, tmp_path / "out", settings=settings).made == 6
    assert str(tmp_path) not in (tmp_path / "out" / "artifact.json").read_text()
    assert _generate(run, tmp_path / "out", settings=DrawConfig(**{name: other})).made == 0  # moved, the same picture
    cv2.imwrite(str(one), np.eye(8, dtype=np.uint8))
    with pytest.raises(SeasError, match=f"made with other settings .{name} "):
        _generate(run, tmp_path / "out", settings=settings)
    with pytest.raises(SeasError, match=f"made with other settings .{name} .* instead of None"):
        _generate(run, tmp_path / "out")
    folder.mkdir()
    shutil.copy(other, folder / "a.png")
    settings = DrawConfig(**{name: folder})
    assert _generate(run, tmp_path / "folder_out", settings=settings).made == 6
    moved = folder.rename(tmp_path / "moved")
    assert _generate(run, tmp_path / "folder_out", settings=DrawConfig(**{name: moved})).made == 0
    (moved / "a.png").rename(moved / "b.png")  # files belong to references, or have an order, by their names
    with pytest.raises(SeasError, match=f"made with other settings .{name} "):
        _generate(run, tmp_path / "folder_out", settings=DrawConfig(**{name: moved}))


@pytest.mark.parametrize("name", ["region", "masks"])
def test_settings_of_a_missing_file(tmp_path, name):
    with pytest.raises(SeasError, match=f"{name} is .*nowhere, which does not exist"):
        plain_settings(DrawConfig(**{name: tmp_path / "nowhere"}))


@pytest.mark.parametrize("shape", [(6, 10), (6, 10, 3), (6, 10, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pairs_keep_size_depth_and_channels(run, tmp_path, shape, dtype):
    pipeline = FakePipeline(shape=shape, dtype=dtype)
    _generate(run, tmp_path / "out", pipeline=pipeline, normal=True)
    for entry in read_manifest(tmp_path / "out"):
        image, reference = (read_native(tmp_path / "out" / entry[key]) for key in ("file", "reference"))
        assert image.dtype == reference.dtype == dtype
        np.testing.assert_array_equal(image, pipeline.image(entry["seed"]))
        np.testing.assert_array_equal(reference, pipeline.reference(int(Path(entry["reference_source"]).stem)))
        if entry["mask"]:
            np.testing.assert_array_equal(read_mask(tmp_path / "out" / entry["mask"]), pipeline.mask(entry["seed"]))


def test_a_repeated_reference_takes_no_room(run, tmp_path):
    _generate(run, tmp_path / "out", num_images=7, normal=True, pipeline=FakePipeline(num_references=2))
    files = [tmp_path / "out" / entry["reference"] for entry in read_manifest(tmp_path / "out")]
    assert len(files) == 21
    assert len({file.stat().st_ino for file in files}) == 2


def _as_version_0_1(output):
    """Make a folder look like one of version 0.1, which knew nothing of drawing in windows."""
    record = json.loads((output / "artifact.json").read_text())
    settings = {"model": record["model"], **record["settings"]}
    settings |= {"strength": None, "guidance_scale": None, "num_inference_steps": None, "copied_share": None}
    (output / "generate.json").write_text(json.dumps({"settings": settings, "digits": 3}))
    (output / "artifact.json").unlink()


def test_a_folder_of_version_0_1_is_not_added_to(run, tmp_path):
    _generate(run, tmp_path / "out")
    _as_version_0_1(tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(SeasError, match=r"another version of seas-aug \(0\.1, this is .*choose another .* trained on"):
        _generate(run, tmp_path / "out", num_images=9)
    assert tree(tmp_path / "out") == before


def test_a_complete_folder_of_another_version_is_used_as_it_is(run, tmp_path, caplog):
    """After an update nothing has to be deleted by hand; more pairs would draw other pixels, and are refused."""
    _generate(run, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "artifact.json").read_text())
    (tmp_path / "out" / "artifact.json").write_text(json.dumps({**record, "code": "0.2+older"}))
    before = tree(tmp_path / "out")
    result = _generate(run, tmp_path / "out")
    assert result.made == 0
    assert "was made by another version of seas-aug; what is there is used" in caplog.text
    with pytest.raises(SeasError, match=r"another version of seas-aug \(0\.2\+older, this is .*choose another"):
        _generate(run, tmp_path / "out", num_images=9)
    assert tree(tmp_path / "out") == before
