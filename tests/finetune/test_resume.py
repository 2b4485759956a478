# SPDX-License-Identifier: Apache-2.0
"""A run stopped anywhere goes on from there and ends exactly as one that was never stopped."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from seas_aug.draw.pipeline import SeaSPipeline
from seas_aug.errors import SeasError
from seas_aug.finetune import run
from seas_aug.finetune.run import finetune
from tests.finetune.recording import files, recorded
from tests.tiny_base import tiny_config

ROOT = Path(__file__).resolve().parents[2]


def assert_same_run(output, whole):
    """The same files; those of the model with the same bytes."""
    here, there = files(output), files(whole)
    assert sorted(here) == sorted(there)
    assert [name for name in there if name.startswith("model/") and here[name] != there[name]] == []


def test_stopped_at_many_steps(whole, category_folder, base_folder, tmp_path):
    """Generator: 6 updates of 2 batches, masks: 3 updates; checkpoints every 2 updates."""
    config = tiny_config(category_folder, tmp_path / "run", base_folder)
    expected = {stage: {batch[:2]: batch for batch in whole[1].batches[stage]} for stage in ("generator", "masks")}
    handler = signal.getsignal(signal.SIGINT)
    for stop, first in [
        (("generator", 1), {"generator": 0}),
        (("generator", 3), {"generator": 0}),
        (("masks", 0), {"generator": 2}),
        (("masks", 2), {"masks": 0}),
        (None, {"masks": 2}),
    ]:
        with recorded(stop) as part:
            if stop is None:
                finetune(config)
            else:
                with pytest.raises((SystemExit, KeyboardInterrupt)):
                    finetune(config)
        assert {stage: part.updates(stage)[0] for stage in expected if part.updates(stage)} == first
        for stage, batches in part.batches.items():
            assert batches == [expected[stage][batch[:2]] for batch in batches]
            last = stop[1] if stop and stop[0] == stage else (6 if stage == "generator" else 3)
            assert part.updates(stage) == list(range(first.get(stage, last), last))
    assert signal.getsignal(signal.SIGINT) is handler
    assert_same_run(config.output, whole[0])


def test_masks_need_the_base_no_more(whole, category_folder, base_folder, tmp_path, monkeypatch):
    """The fine-tuned generator holds all weights, so a base that is gone by then stops nothing."""
    config = tiny_config(category_folder, tmp_path / "run", base_folder)
    with recorded(("masks", 2)), pytest.raises((SystemExit, KeyboardInterrupt)):
        finetune(config)
    monkeypatch.setattr(run, "load_base", lambda _: pytest.fail("the base was loaded"))
    finetune(config)
    assert_same_run(config.output, whole[0])


def test_killed_while_the_generator_is_saved(whole, category_folder, base_folder, tmp_path):
    """SIGKILL, which nothing can clean up after, in another process; the generator is complete in its checkpoint."""
    output = tmp_path / "run"
    script = (
        "import os, signal\nfrom pathlib import Path\nfrom seas_aug.finetune.run import finetune\n"
        "from seas_aug.draw.pipeline import SeaSPipeline\nfrom tests.tiny_base import tiny_config\n"
        "save = SeaSPipeline.save_pretrained\n"
        "SeaSPipeline.save_pretrained = lambda *a, **k: (save(*a, **k), os.kill(os.getpid(), signal.SIGKILL))\n"
        f"finetune(tiny_config(Path({str(category_folder)!r}), Path({str(output)!r}), Path({str(base_folder)!r})))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True, env={**os.environ}
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert list(output.glob(".generator.*.seas-tmp/model_index.json"))
    assert not (output / "generator").exists()
    (output / "previews" / ".generator_000004.png.abc.seas-tmp").write_bytes(b"half")
    with recorded() as rest:
        finetune(tiny_config(category_folder, output, base_folder))
    assert rest.updates("generator") == []
    assert rest.updates("masks") == [0, 1, 2]
    assert_same_run(output, whole[0])


def test_killed_after_the_model_was_saved(whole, category_folder, base_folder, tmp_path, monkeypatch):
    """Also: a killed replacement of the checkpoint folder leaves nothing, and a finished run is not touched again."""
    config = tiny_config(category_folder, tmp_path / "run", base_folder)

    def stop(output):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "remove_intermediate", stop)
        with pytest.raises(KeyboardInterrupt):
            finetune(config)
    assert (config.output / "checkpoints").is_dir()
    with recorded() as nothing:
        assert finetune(config) == config.output / "model"
    assert nothing.updates("generator") == nothing.updates("masks") == []
    assert_same_run(config.output, whole[0])
    before = {path: path.stat().st_mtime_ns for path in config.output.rglob("*")}
    finetune(config)
    assert before == {path: path.stat().st_mtime_ns for path in config.output.rglob("*")}


def test_checkpoint_is_never_half_written(category_folder, base_folder, tmp_path, monkeypatch):
    """A stop inside torch.save keeps the checkpoint of before."""
    config = tiny_config(category_folder, tmp_path / "run", base_folder)
    with recorded(("generator", 3)), pytest.raises((SystemExit, KeyboardInterrupt)):
        finetune(config)
    before = files(config.output / "checkpoints")
    assert list(before) == ["generator/last.ckpt"]

    def save(_checkpoint, file):
        file.write(b"half a checkpoint")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("seas_aug.finetune.training.torch.save", save)
        with recorded() as part, pytest.raises((SystemExit, KeyboardInterrupt)):
            finetune(config)
    assert part.updates("generator") == [2, 3]
    assert files(config.output / "checkpoints") == before


def test_log_goes_on(category_folder, base_folder, tmp_path):
    """A line that comes again after the checkpoint at 8 is not there twice, the file is never lost."""
    config = tiny_config(category_folder, tmp_path / "run", base_folder)
    config = dataclasses.replace(
        config,
        checkpoint_every=8,
        preview_every=0,
        generator=dataclasses.replace(config.generator, max_steps=20, accumulate=1, batch_size=1),
    )
    with recorded(("generator", 15)), pytest.raises((SystemExit, KeyboardInterrupt)):
        finetune(config)
    log = config.output / "log" / "generator.csv"
    assert [line.partition(",")[0] for line in log.read_text().splitlines()] == ["step", "9"]
    with recorded(("masks", 0)), pytest.raises((SystemExit, KeyboardInterrupt)):
        finetune(config)
    lines = log.read_text().splitlines()
    assert lines[0] == "step,epoch,loss,loss_da,loss_defect,loss_na,loss_sd"
    assert [line.partition(",")[0] for line in lines] == ["step", "9", "19"]


def test_other_settings_are_refused(whole, category_folder, base_folder):
    output = whole[0]
    config = tiny_config(category_folder, output, base_folder)
    with pytest.raises(SeasError, match=r"run with other settings \(seed 0 instead of 5\)") as error:
        finetune(dataclasses.replace(config, seed=5))
    assert "\n" not in str(error.value)
    with pytest.raises(SeasError, match=r"other settings \(masks"):
        finetune(dataclasses.replace(config, masks=dataclasses.replace(config.masks, lr=1.0)))
    # What only concerns the machine may change.
    assert finetune(dataclasses.replace(config, preview_every=0, precision="bf16-mixed")) == output / "model"


def test_refused_attempt_leaves_no_settings_behind(category_folder, base_folder, tmp_path):
    """Whoever mistypes a setting and corrects it starts anew, without deleting anything."""
    config = tiny_config(category_folder, tmp_path / "run", base_folder)
    with pytest.raises(SeasError, match="no diffusion model"):
        finetune(dataclasses.replace(config, base=str(tmp_path)))
    wrong = dataclasses.replace(config, attention=dataclasses.replace(config.attention, resolutions=(64,)))
    with pytest.raises(SeasError, match="maps of side 64"):
        finetune(wrong)
    with recorded(("generator", 0)) as part, pytest.raises((SystemExit, KeyboardInterrupt)):
        finetune(config)
    assert part.updates("generator") == []
    assert yaml.safe_load((config.output / "config.yaml").read_text())["attention"]["resolutions"] == [8, 4]


def test_relative_output(category_folder, base_folder, tmp_path, monkeypatch):
    """An output given as text, relative to the working folder, resumes like any other."""
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(tiny_config(category_folder, Path("run"), base_folder), output="run")
    with recorded(("masks", 1)), pytest.raises((SystemExit, KeyboardInterrupt)):
        finetune(config)
    with recorded() as part:
        assert finetune(config) == Path("run/model")
    assert part.updates("generator") == []
    assert SeaSPipeline.from_pretrained("run").anomaly_types == ("crack", "hole")
