# SPDX-License-Identifier: Apache-2.0
"""The list of departures follows the settings, names every setting of the method, and is what the documents say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from seas_aug.cli.main import main
from seas_aug.config import FineTuneConfig
from seas_aug.departures import as_sentence, as_table, departures, flat, page
from seas_aug.departures.published import SAYS_NOTHING, SET_BY_OFFICIAL, WHY_SET, published
from seas_aug.presets import paper_preset

ROOT = Path(__file__).resolve().parents[2]
DATASETS = ("mvtec", "visa", "mvtec_3d")
README = re.compile(r"<!-- departures: made by python -m seas_aug\.departures -->\n(.*?)\n<!-- end -->", re.DOTALL)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_setting_is_published_or_says_nothing(dataset):
    """A new setting has to be put into one of both."""
    settings, known = set(flat(FineTuneConfig())), set(published(dataset))
    assert known | SAYS_NOTHING == settings
    assert not known & SAYS_NOTHING
    assert known >= SET_BY_OFFICIAL and known >= WHY_SET.keys()


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_paper_preset_departs_in_no_setting_without_a_reason(dataset):
    for official in (False, True):
        config = dataclasses.replace(paper_preset(dataset), official=official)
        settings = {one.what for one in departures(config, dataset)} & set(flat(config))
        assert settings == (set() if official else set(WHY_SET))


def test_every_changed_setting_is_listed():
    """Each setting of the method by itself, also those that official would overrule."""
    base = paper_preset()
    for name, value in published("mvtec").items():
        other = _another(value)
        found = departures(_with(base, name.split("."), other))
        line = next(one for one in found if one.what == name)
        assert line.here != line.paper and line.reason
    official = dataclasses.replace(base, official=True)
    kept = _with(official, ["masks", "max_timestep"], 5)
    assert departures(kept) == departures(official)


def test_official_leaves_fewer_and_adds_none():
    plain, official = departures(paper_preset()), departures(dataclasses.replace(paper_preset(), official=True))
    assert set(official) < set(plain)
    assert "normalisation in the mask branch" in {one.what for one in set(plain) - set(official)}
    assert "optimiser" in {one.what for one in official}


def test_the_default_preset_departs_in_what_it_sets():
    found = {one.what: (one.paper, one.here) for one in departures(FineTuneConfig())}
    assert found["precision"] == ("32-true", "automatic")
    assert found["sampling.guidance_scale"] == ("8", "3")
    assert found["data.rotate"] == ("on", "off")
    assert "sampling.reference_latent" in found
    assert "sampling.guidance_scale" not in {one.what for one in departures(paper_preset("visa"), "visa")}


def test_documents_say_what_the_settings_say():
    assert (ROOT / "docs" / "paper.md").read_text(encoding="utf-8") == page()
    found = README.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    assert " ".join(found.group(1).split()).endswith(f"{as_sentence(departures(paper_preset()))}.")


def test_the_command_prints_the_list(capsys: pytest.CaptureFixture) -> None:
    assert main(["departures", "--preset", "paper_visa", "--official", "true"]) == 0
    config = dataclasses.replace(paper_preset("visa"), official=True)
    assert capsys.readouterr().out.strip() == as_table(departures(config, "visa"))
    assert main(["departures", "--preset", "paper", "--generator.unet_lr", "1e-3"]) == 0
    assert "| `generator.unet_lr` | 4e-06 | 0.001 |" in capsys.readouterr().out


def _another(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1 if isinstance(value, int) else value / 2 + 0.25
    words = {
        "constant": "cosine",
        "focal": "cross_entropy_dice",
        "image": "auto",
        "reference": "hole",
        "crop": "squash",
        "images": "types",
        "empty": "normal",
        "sample": "mean",
        "generated": "reference",
        None: 1,
        (32, 16): (16,),
    }
    return words.get(value, f"{value}5")


def _with(config, path, value):
    if len(path) == 1:
        return dataclasses.replace(config, **{path[0]: value})
    return dataclasses.replace(config, **{path[0]: _with(getattr(config, path[0]), path[1:], value)})
