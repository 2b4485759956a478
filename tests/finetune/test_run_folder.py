# SPDX-License-Identifier: Apache-2.0
"""What a run was made from is compared before it is gone on with, or taken for done."""

import dataclasses
import logging
import shutil

import numpy as np
import pytest

from seas_aug.artifact import code
from seas_aug.artifact.lock import LOCK, only_writer
from seas_aug.artifact.record import RECORD, read_record
from seas_aug.data.decode import content_hash, read_mask, write_native
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError
from seas_aug.finetune import run_folder
from seas_aug.finetune.run import finetune
from tests.data.helpers import make_category, write_image
from tests.finetune.recording import files, recorded
from tests.tiny_base import tiny_config


def change_image(root):
    write_image(root / "test" / "crack" / "000.png", seed=99)


def change_normal(root):
    write_image(root / "train" / "good" / "000.png", seed=99)


def change_mask(root):
    path = next((root / "ground_truth" / "crack").glob("000*"))
    mask = read_mask(path).copy()
    mask[:2, :2] = 1 - mask[:2, :2]
    path.write_bytes(write_native(mask * np.uint8(255)))


CHANGES = [(change_image, "few-shot images"), (change_normal, "normal images"), (change_mask, "few-shot masks")]


@pytest.fixture(scope="module")
def stages(base_folder, tmp_path_factory):
    """A category and two runs of it: one stopped in the generator, and one that is finished."""
    folder = tmp_path_factory.mktemp("stages")
    root = make_category(folder / "part", {"crack": 2})
    config = tiny_config(root, folder / "finished", base_folder)
    config = dataclasses.replace(config, preview_every=0, checkpoint_every=1)
    half = dataclasses.replace(config, output=folder / "half")
    with recorded(("generator", 2)), pytest.raises((SystemExit, KeyboardInterrupt)):
        finetune(half)
    finetune(config)
    return folder, {"half": half, "finished": config}


@pytest.fixture
def copied(stages, tmp_path):
    """The same in a folder that may be changed: to the runs it is another place of the same images."""
    folder, configs = stages
    shutil.copytree(folder, tmp_path / "copy")
    root = tmp_path / "copy" / "part"
    return root, {
        name: dataclasses.replace(
            config, output=tmp_path / "copy" / name, data=dataclasses.replace(config.data, root=root)
        )
        for name, config in configs.items()
    }


@pytest.mark.parametrize("which", ["half", "finished"])
@pytest.mark.parametrize(("change", "named"), CHANGES)
def test_changed_images_and_masks_are_noticed(copied, which, change, named):
    root, configs = copied
    change(root)
    before = files(configs[which].output)
    with pytest.raises(SeasError, match=f"holds a run with other {named} than there are now; choose another"):
        finetune(configs[which])
    assert files(configs[which].output) == before


def test_a_folder_that_was_moved_holds_the_same_run(copied):
    _, configs = copied
    with recorded() as nothing:
        finetune(configs["finished"])
    assert nothing.updates("generator") == nothing.updates("masks") == []
    with recorded() as rest:
        finetune(configs["half"])
    assert rest.updates("generator")[0] == 2
    assert read_record(configs["half"].output) == read_record(configs["finished"].output)


def test_another_version_of_the_code(copied, monkeypatch, caplog):
    """Half a run is not gone on with; a finished one is used, and says so."""
    _, configs = copied
    monkeypatch.setattr(run_folder, "code_version", lambda parts: "9.9+abcd")
    with pytest.raises(SeasError, match=r"another version of seas-aug \(.*, this is 9\.9\+abcd\); choose another"):
        finetune(configs["half"])
    with caplog.at_level(logging.WARNING), recorded() as nothing:
        finetune(configs["finished"])
    assert nothing.updates("generator") == []
    assert "is a finished run of another version of seas-aug" in caplog.text
    with pytest.raises(SeasError, match=r"other settings \(seed 0 instead of 3\)"):
        finetune(dataclasses.replace(configs["finished"], seed=3))


@pytest.mark.parametrize("which", ["half", "finished"])
def test_a_run_of_version_0_1_is_refused(copied, which):
    _, configs = copied
    (configs[which].output / RECORD).unlink()
    with pytest.raises(SeasError, match=r"holds a run with version 0\.1 of seas-aug; choose another"):
        finetune(configs[which])


def test_what_a_run_is_made_from(copied):
    _, configs = copied
    record = read_record(configs["finished"].output)
    assert record.code == code.code_version(code.TRAINING)
    assert set(record.data) == {"few-shot images", "few-shot masks", "normal images"}
    assert "output" not in record.settings and "root" not in record.settings["data"]
    assert record.settings["generator"]["max_steps"] == configs["finished"].generator.max_steps


def test_a_second_writer_is_refused(copied):
    _, configs = copied
    with only_writer(configs["half"].output, "fine-tuning"):
        with pytest.raises(SeasError, match="writes there now, so that fine-tuning has to wait"):
            finetune(configs["half"])
        finetune(configs["finished"])  # has nothing to write
    assert not (configs["half"].output / LOCK).exists()


def test_groups_that_came_later_count(copied):
    """Another test image of a few-shot image's part: the weights are the same, what may be tested on is not."""
    root, configs = copied
    write_image(root / "test" / "good" / "000.png", seed=77)
    few_shot = load_split(configs["finished"].output / "split.json").split.samples[0].image.name
    (root / "groups.csv").write_text(f"folder,file,group\ntest/crack,{few_shot},A\ntest/good,000.png,A\n")
    with recorded() as nothing:
        finetune(configs["finished"])
    assert nothing.updates("generator") == nothing.updates("masks") == []
    saved = load_split(configs["finished"].output / "split.json")
    assert [path.name for path in saved.split.excluded] == ["000.png"]
    assert content_hash(root / "test" / "good" / "000.png") in saved.forbidden_hashes
