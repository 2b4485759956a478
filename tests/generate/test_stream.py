# SPDX-License-Identifier: Apache-2.0
import io
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

import pytest

from seas_aug.artifact.lock import only_writer
from seas_aug.config import DrawConfig
from seas_aug.errors import SeasError
from seas_aug.generate import stream
from seas_aug.generate.run import generate
from seas_aug.generate.stream import Renewal, StreamSettings, serve, why_ended
from seas_aug.generate.writer import read_manifest
from tests.generate.fake import ALL, FakePipeline, make_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def renewal(run: Path, output: Path, **options) -> Renewal:
    settings = {"num_images": 3, "uses": 2, "batch_size": 2, "pipeline": FakePipeline(), **options}
    return Renewal(run, output, **settings)


def indices(output: Path) -> dict[str, list[int]]:
    entries = [entry for entry in read_manifest(output) if entry["file"]]
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


def refused(output: Path, folder: str) -> list[int]:
    return sorted(e["index"] for e in read_manifest(output) if e["folder"] == folder and not e["file"])


def test_refused_seeds_are_passed_over(run, tmp_path):
    gate = {"crack": (0, 2), "hole": (3, 4)}
    pipeline = FakePipeline(gate)
    one = renewal(run, tmp_path / "pool", pipeline=pipeline)
    made = [one.step(0) for _ in range(6)]
    assert one.is_full and sum(made) == 6 and one.renewed == 0
    assert indices(tmp_path / "pool") == {"crack": [1, 3, 4], "hole": [0, 1, 2]}
    assert refused(tmp_path / "pool", "crack") == [0, 2]
    made = [one.step(8) for _ in range(12)]
    assert sum(made) == one.renewed == 4  # refused ones do not count as new
    assert refused(tmp_path / "pool", "hole") == [3, 4]
    assert all(len(found) == 3 for found in indices(tmp_path / "pool").values())
    drawn = set(pipeline.asked)
    again = renewal(run, tmp_path / "pool", pipeline=pipeline)
    while again.step(8):
        pass
    assert len(pipeline.asked) == len(set(pipeline.asked)) and drawn < set(pipeline.asked)
    assert len(list((tmp_path / "pool").rglob("*.png"))) == 6 * 3 + 4 * 3  # retired ones of this process stay a while


def test_gives_up_after_many_refusals_in_a_row(run, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "_GIVEN_UP", 10)
    one = renewal(run, tmp_path / "pool", pipeline=FakePipeline({"hole": ALL}))
    with pytest.raises(SeasError, match=r"^hole: the gate refused 10 seeds in a row; fine-tune longer, or [^.]*\.$"):
        for _ in range(100):
            one.step(0)
    assert indices(tmp_path / "pool")["crack"]
    assert refused(tmp_path / "pool", "hole") == list(range(10))
    with pytest.raises(SeasError, match="hole: the gate refused"):
        serve(renewal(run, tmp_path / "pool", pipeline=FakePipeline({"hole": ALL})), open_pipe())


def open_pipe() -> TextIO:
    """Return an input that never says anything, nor ends."""
    return os.fdopen(os.pipe()[0])


def test_a_pair_between_refusals_starts_the_count_anew(run, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "_GIVEN_UP", 4)
    seldom = {name: [number for number in range(1000) if number % 4] for name in ("crack", "hole")}
    one = renewal(run, tmp_path / "pool", pipeline=FakePipeline(seldom), batch_size=1)
    for _ in range(200):
        one.step(20)
    assert one.is_full and one.renewed == 10


def test_command_passes_the_drawing_on(run, tmp_path, monkeypatch):
    drawing = DrawConfig(
        region=tmp_path / "r.png", count=(1, 3), size=(4, 9.5), severity=0.5, references=("a.png", "b.png"), gate=False
    )
    settings = StreamSettings(run, tmp_path / "pool", 2, 1, ("crack",), 0, "cpu", None, drawing)
    seen = []
    monkeypatch.setattr(stream, "Renewal", lambda *_, **options: seen.append(options["drawing"]))
    monkeypatch.setattr(stream, "serve", lambda *_: None)
    assert stream.main(settings.arguments()) == 0
    assert stream.main(StreamSettings(run, tmp_path / "pool", 2, 1, ("crack",), 0, "cpu", None).arguments()) == 0
    assert seen == [drawing, DrawConfig()]


def test_another_drawing_is_another_folder(run, tmp_path):
    renewal(run, tmp_path / "pool", drawing=DrawConfig(count=2))
    with pytest.raises(SeasError, match=r"made with other settings .count 2 instead of None"):
        renewal(run, tmp_path / "pool")


def served(one: Renewal, output: Path) -> tuple[threading.Thread, TextIO]:
    """Serve from a pipe until the folder is full; return what serves, and the other end of the pipe."""
    read, write = os.pipe()
    thread = threading.Thread(target=serve, args=(one, os.fdopen(read)), daemon=True)
    thread.start()
    manifest = output / "manifest.jsonl"
    wait_until(thread, lambda: manifest.is_file() and len(read_manifest(output)) == 6)
    return thread, os.fdopen(write, "w", buffering=1)


def wait_until(thread: threading.Thread, condition) -> None:
    while not condition():
        assert thread.is_alive()
        time.sleep(0.01)


def assert_ends(thread: threading.Thread) -> None:
    thread.join(10)
    assert not thread.is_alive()


def test_serves_until_the_input_ends(run, tmp_path):
    one = renewal(run, tmp_path / "pool")
    thread, sender = served(one, tmp_path / "pool")
    sender.write("4\n8\n")
    wait_until(thread, lambda: one.renewed == 4)
    assert thread.is_alive()
    sender.close()
    assert_ends(thread)
    assert one.renewed == 4


def test_empty_input_ends_at_once(run, tmp_path):
    serve(renewal(run, tmp_path / "pool"), io.StringIO(""))


def test_stops_when_told_though_the_input_goes_on(run, tmp_path, capsys):
    one = renewal(run, tmp_path / "pool")
    thread, sender = served(one, tmp_path / "pool")
    sender.write("4\nfour\n8\n")
    wait_until(thread, lambda: one.renewed == 4)
    sender.write("stop\n")
    assert_ends(thread)
    assert "passed over 'four" in capsys.readouterr().err


def test_ends_with_its_parent_though_the_input_goes_on(run, tmp_path, monkeypatch):
    one = renewal(run, tmp_path / "pool")
    thread, _sender = served(one, tmp_path / "pool")
    another = os.getppid() + 1  # not 1, which is what the parent is where the tests run without a shell
    monkeypatch.setattr(os, "getppid", lambda: another)
    assert_ends(thread)
    read, write = os.pipe()
    serve(one, os.fdopen(read), parent=another + 1)  # it was gone before the model had been loaded
    os.close(write)


def test_unreadable_input_ends_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    serve(renewal(run, tmp_path / "pool"), io.TextIOWrapper(io.BytesIO(b"4\n\xff\n"), encoding="utf-8"))


@pytest.mark.parametrize("wrong", [{"uses": 0}, {"num_images": 0}, {"batch_size": 0}, {"anomaly_types": [["rust"]]}])
def test_mistakes(run, tmp_path, wrong):
    with pytest.raises(SeasError):
        renewal(run, tmp_path / "pool", **wrong)
    assert not (tmp_path / "pool").exists()


def test_command_tells_a_mistake(tmp_path, capsys):
    arguments = [f"--run={tmp_path / 'none'}", f"--output={tmp_path / 'pool'}", "--num_images=2", "--uses=1"]
    assert stream.main(arguments) == 2
    assert capsys.readouterr().err.startswith("seas-aug: error:")


def test_second_process_for_a_folder_ends_before_it_loads_the_model(tmp_path, capsys):
    arguments = [f"--run={tmp_path / 'none'}", f"--output={tmp_path / 'pool'}", "--num_images=2", "--uses=1"]
    with only_writer(tmp_path / "pool", "renewing pairs"):
        assert stream.main(arguments) == stream.LOCKED
    assert f"process {os.getpid()} on " in capsys.readouterr().err


def test_exit_code_is_told_without_a_log(tmp_path, monkeypatch):
    """On a full disk nothing can be written, not even why the process ends."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    arguments = [f"--run={tmp_path / 'none'}", f"--output={tmp_path / 'pool'}", "--num_images=2", "--uses=1"]
    assert stream.main(arguments) == 2


@pytest.mark.parametrize(
    ("log", "code", "why"),
    [
        ("seas-aug: error: disk full.\n", 2, "disk full."),
        ("loading\nseas-aug: error: first\nseas-aug: last\n 10%|#   | 1/9\rUserWarning: old\n", 2, "last"),
        ("Traceback (most recent call last):\nValueError: no seas-aug: here\n", 1, "exit code 1"),
        ("", -9, "killed by signal 9"),
        (None, 1, "exit code 1"),
    ],
)
def test_why_it_ended(tmp_path, log, code, why):
    if log is not None:
        (tmp_path / "log").write_text(log)
    assert why_ended(tmp_path / "log", code, tmp_path) == why


def test_full_disk_is_guessed(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    assert why_ended(tmp_path / "log", 1, tmp_path / "pool") == f"exit code 1; is the disk of {tmp_path / 'pool'} full?"
