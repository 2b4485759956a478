# SPDX-License-Identifier: Apache-2.0
import io
import os
import threading
from pathlib import Path

import pytest

from seas_aug.errors import SeasError
from seas_aug.generate import stream
from seas_aug.generate.run import generate
from seas_aug.generate.stream import Renewal, serve
from seas_aug.generate.writer import read_manifest
from tests.generate.fake import FakePipeline, make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def renewal(run: Path, output: Path, **options) -> Renewal:
    settings = {"num_images": 3, "uses": 2, "batch_size": 2, "pipeline": FakePipeline(), **options}
    return Renewal(run, output, **settings)


def indices(output: Path) -> dict[str, list[int]]:
    entries = read_manifest(output)
    return {name: sorted(e["index"] for e in entries if e["folder"] == name) for name in ("crack", "hole")}


def newest(output: Path) -> int:
    """Sum over the types of the highest index: grows by one for each new pair."""
    return sum(map(max, indices(output).values()))


def fill(one: Renewal) -> None:
    while not one.is_full:
        assert one.step(0)


def test_fills_all_types_evenly_and_then_waits(run, tmp_path):
    one = renewal(run, tmp_path / "pool")
    assert one.step(0) == 2
    assert one.step(0) == 2
    assert indices(tmp_path / "pool") == {"crack": [0, 1], "hole": [0, 1]}
    fill(one)
    assert indices(tmp_path / "pool") == {"crack": [0, 1, 2], "hole": [0, 1, 2]}
    assert one.step(0) == one.step(1) == 0
    assert one.renewed == 0


def test_renews_the_oldest_as_fast_as_pairs_are_drawn(run, tmp_path):
    """Two drawn, one new: after 12 draws 6 new pairs, 3 of each type."""
    one = renewal(run, tmp_path / "pool")
    fill(one)
    made = [one.step(12) for _ in range(10)]
    assert sum(made) == one.renewed == 6
    assert newest(tmp_path / "pool") == 2 + 2 + 6
    assert all(found == list(range(found[0], found[0] + 3)) for found in indices(tmp_path / "pool").values())
    assert one.step(13) == 0
    assert one.step(14) == 1


def test_pairs_are_those_of_generate(run, tmp_path):
    one = renewal(run, tmp_path / "pool", seed=7)
    fill(one)
    while one.step(8):
        pass
    generate(run, tmp_path / "fixed", num_images=8, seed=7, pipeline=FakePipeline())
    fixed = {(e["folder"], e["index"]): e for e in read_manifest(tmp_path / "fixed")}
    for entry in read_manifest(tmp_path / "pool"):
        same = fixed[entry["folder"], entry["index"]]
        for key in ("file", "mask", "reference"):
            assert (tmp_path / "pool" / entry[key]).read_bytes() == (tmp_path / "fixed" / same[key]).read_bytes()


def test_files_stay_for_a_while(run, tmp_path, monkeypatch):
    one = renewal(run, tmp_path / "pool")
    fill(one)
    first = tmp_path / "pool" / next(e["file"] for e in read_manifest(tmp_path / "pool") if e["index"] == 0)
    while one.step(12):
        pass
    assert first.is_file()
    assert str(first.name) not in [Path(e["file"]).name for e in read_manifest(tmp_path / "pool")]
    monkeypatch.setattr(stream, "_GRACE", 0.0)
    one.step(12)
    assert not first.exists()
    assert len(list((tmp_path / "pool").rglob("*.png"))) == 6 * 3


def test_goes_on_where_it_stopped(run, tmp_path):
    one = renewal(run, tmp_path / "pool")
    fill(one)
    while one.step(12):
        pass
    before = indices(tmp_path / "pool")
    again = renewal(run, tmp_path / "pool")
    assert again.is_full and indices(tmp_path / "pool") == before
    assert len(list((tmp_path / "pool").rglob("*.png"))) == 6 * 3  # what was retired before is gone
    assert again.step(4) == 2
    assert newest(tmp_path / "pool") == sum(map(max, before.values())) + 2


def test_full_disk_leaves_a_usable_pool(run, tmp_path, monkeypatch):
    one = renewal(run, tmp_path / "pool")
    fill(one)
    real = os.fsync

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SeasError, match="disk full"):
        one.step(12)
    monkeypatch.setattr(os, "fsync", real)
    entries = read_manifest(tmp_path / "pool")
    assert all((tmp_path / "pool" / entry[key]).is_file() for entry in entries for key in ("file", "mask", "reference"))
    assert renewal(run, tmp_path / "pool").step(4) > 0


def test_serves_until_the_input_ends(run, tmp_path):
    read, write = os.pipe()
    one = renewal(run, tmp_path / "pool")
    with os.fdopen(read) as counts, os.fdopen(write, "w") as sender:
        thread = threading.Thread(target=serve, args=(one, counts))
        thread.start()
        while not (tmp_path / "pool" / "manifest.jsonl").is_file() or len(read_manifest(tmp_path / "pool")) < 6:
            assert thread.is_alive()
        sender.write("4\n8\n")
        sender.flush()
        while one.renewed < 4:
            assert thread.is_alive()
        assert thread.is_alive()
        sender.close()
        thread.join(10)
        assert not thread.is_alive()
    assert one.renewed == 4


def test_empty_input_ends_at_once(run, tmp_path):
    serve(renewal(run, tmp_path / "pool"), io.StringIO(""))


@pytest.mark.parametrize("wrong", [{"uses": 0}, {"num_images": 0}, {"batch_size": 0}, {"anomaly_types": [["rust"]]}])
def test_mistakes(run, tmp_path, wrong):
    with pytest.raises(SeasError):
        renewal(run, tmp_path / "pool", **wrong)
    assert not (tmp_path / "pool").exists()


def test_command_tells_a_mistake(tmp_path, capsys):
    arguments = [f"--run={tmp_path / 'none'}", f"--output={tmp_path / 'pool'}", "--num_images=2", "--uses=1"]
    assert stream.main(arguments) == 2
    assert capsys.readouterr().err.startswith("seas-aug: error:")
