# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import shutil
from pathlib import Path

import cv2
import pytest
import torch

from seas_aug.errors import SeasError
from seas_aug.generate.model_hash import model_hash
from seas_aug.generate.run import generate
from seas_aug.generate.writer import read_manifest
from tests.generate.fake import FakePipeline, make_run, tree


class KillError(BaseException):
    """Stands for the process being killed."""


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def _generate(run, output, **options):
    return generate(run, output, **{"num_images": 3, "pipeline": FakePipeline(), "batch_size": 2, **options})


def test_refused_settings_leave_no_folder(run, tmp_path):
    with pytest.raises(SeasError, match="strength is too high"):
        _generate(run, tmp_path / "out", strength=0.95)
    assert not (tmp_path / "out").exists()
    assert _generate(run, tmp_path / "out", strength=0.5).made == 6


def test_layout_and_manifest(run, tmp_path):
    output = tmp_path / "out"
    result = _generate(run, output, anomaly_types=[["crack"], ["hole", "crack"]], normal=True, strength=0.5)
    assert (result.made, result.kept, result.counts) == (9, 0, {"crack": 3, "crack+hole": 3, "good": 3})
    expected = {"manifest.jsonl", "generate.json"}
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
    assert entry["reference_source"].endswith(".png")
    assert set(entry["versions"]) == {"seas-aug", "torch", "diffusers"}
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(entry["seed"]))
    written = cv2.cvtColor(cv2.imread(str(output / entry["file"])), cv2.COLOR_BGR2RGB)
    assert torch.equal(torch.from_numpy(written).permute(2, 0, 1), (image * 255).round().to(torch.uint8))
    mask = cv2.imread(str(output / entry["mask"]), cv2.IMREAD_UNCHANGED)
    assert torch.equal(torch.from_numpy(mask), (image[0] > 0.5).to(torch.uint8) * 255)
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


def test_killed_at_every_write(run, tmp_path, monkeypatch):
    """Each flush to the disk is the last act of a process that cleans nothing up."""
    options = {"num_images": 2, "anomaly_types": [["crack"]], "normal": True}
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


@pytest.mark.parametrize("options,word", [({"seed": 1}, "seed 0 instead of 1"), ({"strength": 0.3}, "strength None")])
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
    (tmp_path / "out" / "generate.json").write_text("{")
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
    with pytest.raises(SeasError, match="crack image 0: the mask is still empty"):
        _generate(run, tmp_path / "out", pipeline=FakePipeline(empty_masks=True))
    assert not list((tmp_path / "out").rglob("*.png"))


def test_score_that_is_no_number_is_null(run, tmp_path):
    class Unscored(FakePipeline):
        def __call__(self, *arguments, **options):
            result = super().__call__(*arguments, **options)
            for record in result.records:
                record.score = float("nan")
            return result

    _generate(run, tmp_path / "out", pipeline=Unscored())
    for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=pytest.fail)["score"] is None


def test_missing_accelerator(run, tmp_path):
    with pytest.raises(SeasError, match="accelerator is tpu"):
        _generate(run, tmp_path / "out", pipeline=None, accelerator="tpu")
