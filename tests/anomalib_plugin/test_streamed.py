# SPDX-License-Identifier: Apache-2.0
"""The consumer's side of a stream, with a producer process whose pairs are noise."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch

from seas_aug.anomalib_plugin import SeasAugmentation, streamed
from seas_aug.anomalib_plugin import producer as producer_module
from seas_aug.anomalib_plugin.producer import Follower, Producer
from seas_aug.anomalib_plugin.streamed import StreamedPool
from seas_aug.artifact.record import read_record
from seas_aug.config import DrawConfig
from seas_aug.errors import SeasError
from seas_aug.generate.stream import StreamSettings
from seas_aug.generate.writer import read_manifest
from tests.anomalib_plugin.stand_ins import Draem, make_trainer
from tests.generate.fake import make_run

ROOT = Path(__file__).parents[2]
FAKE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from seas_aug.generate import stream
from tests.generate.fake import FakePipeline
stream.load_source = lambda model, accelerator: FakePipeline()
sys.exit(stream.main())
"""
COMMAND = (sys.executable, "-c", FAKE)
TRAINER = f"""
import subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from tests.anomalib_plugin.test_streamed import COMMAND, settings
from pathlib import Path
from seas_aug.anomalib_plugin.producer import Producer
producer = Producer(settings(Path(sys.argv[1])), COMMAND)
# As a forked DataLoader worker does, this one holds the pipe to the producer open.
worker = subprocess.Popen(["sleep", "60"], pass_fds=[producer._process.stdin.fileno()], stdout=subprocess.DEVNULL)
print(producer.pid, worker.pid, flush=True)
time.sleep(120)
"""


def settings(folder: Path, num_images: int = 6, uses: int = 2, drawing: DrawConfig | None = None) -> StreamSettings:
    return StreamSettings(
        run=folder / "run",
        folder=folder / "pool",
        num_images=num_images,
        uses=uses,
        anomaly_types=("crack", "hole"),
        seed=0,
        accelerator="cpu",
        threads=1,
        drawing=drawing,
    )


@pytest.fixture
def producer(tmp_path: Path) -> Iterator[Producer]:
    make_run(tmp_path / "run")
    made = Producer(settings(tmp_path), COMMAND)
    yield made
    made.stop()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").is_dir() else True


def wait_until(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_pool_renews_itself_while_it_is_drawn_from(producer: Producer, tmp_path: Path) -> None:
    pool = StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=2)
    generator, seen = torch.Generator().manual_seed(0), set()
    until = time.monotonic() + 60  # on a busy machine; else a second or two
    while len(seen) <= 40 and time.monotonic() < until:
        images, masks, references = pool.draw(generator, 4, (8, 8))
        assert images.shape == references.shape == (4, 3, 8, 8)
        assert masks.flatten(1).any(1).all()
        seen |= {float(image.sum()) for image in images}
        assert len(pool) <= 12 + 4  # and the batch that has just been made
        time.sleep(0.02)
    assert len(seen) > 40  # the pool holds twelve at a time
    wait_until(lambda: max(entry["index"] for entry in read_manifest(tmp_path / "pool")) > 30)
    renewed = max(entry["index"] for entry in read_manifest(tmp_path / "pool"))
    assert renewed <= 6 + pool.drawn / 2  # not faster than stated: one for two that were drawn


def test_dead_producer_is_told_and_training_goes_on(
    producer: Producer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=2)
    os.kill(producer.pid, signal.SIGKILL)
    wait_until(lambda: producer.why_ended() is not None)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            pool.draw(torch.Generator().manual_seed(0), 4, (8, 8))
    assert caplog.text.count("not renewed any more (killed by signal 9)") == 1
    assert not list((tmp_path / "pool").rglob("*.tmp*"))


def test_stop_leaves_no_process(producer: Producer, tmp_path: Path) -> None:
    StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=1)
    pid = producer.pid
    assert is_alive(pid)
    assert producer.log.is_file()
    assert producer.log.name == f"pool.{os.getpid()}.log"
    pipe = producer._process.stdin
    assert pipe is not None
    start = time.monotonic()
    with subprocess.Popen(["sleep", "60"], pass_fds=[pipe.fileno()]) as worker:  # as a forked DataLoader worker does
        producer.stop()
        worker.kill()
    assert time.monotonic() - start < 15  # it was not killed
    assert not is_alive(pid)
    assert not producer.log.exists()
    producer.stop()
    producer.report(3)
    assert producer.why_ended() == "exit code 0"


def test_killed_trainer_leaves_no_process(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    with subprocess.Popen([sys.executable, "-c", TRAINER, str(tmp_path)], stdout=subprocess.PIPE) as trainer:
        assert trainer.stdout is not None
        pid, worker = map(int, trainer.stdout.readline().split())
        wait_until((tmp_path / "pool" / "manifest.jsonl").is_file)
        assert is_alive(pid)
        trainer.kill()
    wait_until(lambda: not is_alive(pid))
    os.kill(worker, signal.SIGKILL)


def test_producer_that_cannot_start_is_explained(tmp_path: Path) -> None:
    producer = Producer(settings(tmp_path), COMMAND)
    with pytest.raises(SeasError, match="run"):
        StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=1)
    producer.stop()
    assert producer.log.is_file()


def test_pipe_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    """Windows says so where the other end is closed."""

    class Pipe:
        closed = False

        def write(self, data: bytes) -> None:
            raise OSError(22, "Invalid argument")

        def close(self) -> None:
            raise OSError(22, "Invalid argument")

    producer = Producer(settings(tmp_path), (sys.executable, "-c", "input()"))
    real, producer._process.stdin = producer._process.stdin, Pipe()
    producer.report(1)
    assert real is not None
    real.close()
    producer.stop()


def test_producer_that_reads_nothing_does_not_halt_the_training(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(producer_module, "_PATIENCE", 0.1)
    producer = Producer(settings(tmp_path), (sys.executable, "-c", "import time; time.sleep(60)"))
    for drawn in range(20_000):  # more than a pipe holds
        producer.report(drawn)
    producer.stop()
    assert not is_alive(producer.pid)


def test_killed_producer_leaves_a_pool_that_can_be_read(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    pool, moments = tmp_path / "pool", random.Random(0)

    def newest() -> int:
        return max(e["index"] for e in read_manifest(pool)) if (pool / "manifest.jsonl").is_file() else -1

    for _ in range(5):
        before = newest()
        producer = Producer(settings(tmp_path, uses=1), COMMAND)
        producer.report(10**6)  # it renews all the time
        wait_until(lambda before=before: newest() > before)
        time.sleep(moments.uniform(0, 0.4))
        os.kill(producer.pid, signal.SIGKILL)
        wait_until(lambda ended=producer: ended.why_ended() is not None)
        assert producer.why_ended() == "killed by signal 9"
        listed = [entry[kind] for entry in read_manifest(pool) for kind in ("file", "mask", "reference")]
        assert len(listed) >= 3
        assert all(cv2.imread(str(pool / name)) is not None for name in listed)
        producer.stop()
    last = Producer(settings(tmp_path), COMMAND)
    wait_until(lambda: not list(pool.rglob(".*.seas-tmp")) and len(read_manifest(pool)) >= 12)
    last.stop()
    assert len(list(pool.rglob("*.png"))) == 3 * len(read_manifest(pool))


def test_second_training_takes_over_when_the_first_ends(
    producer: Producer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(producer_module, "_RETRY", 1.0)
    first = StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=6)
    with monkeypatch.context() as other:
        other.setattr(os, "getpid", lambda: 1)
        second = Producer(settings(tmp_path), COMMAND)
    assert second.log != producer.log
    pool, generator = StreamedPool(second, tmp_path / "pool", ("crack", "hole"), first=6, max_uses=2), torch.Generator()
    wait_until(lambda: not second.is_running)
    lost = second.pid
    assert second.why_ended() is None
    while pool.drawn + 4 <= 2 * pool.distinct:  # as far as it gets without new pairs
        pool.draw(generator, 4, (8, 8))
    first.draw(generator, 8, (8, 8))
    pool.draw(generator, 4, (8, 8))  # the first one's producer makes what it needs
    assert producer.is_running
    producer.stop()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            pool.draw(generator, 7, (8, 8))
            assert pool.drawn <= 2 * pool.distinct
    assert not caplog.text
    assert second.is_running and second.pid != lost
    second.stop()
    assert not second.log.exists()


def test_strength_reaches_the_model(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    producer = Producer(settings(tmp_path, drawing=DrawConfig(strength=0.95)), COMMAND)
    with pytest.raises(SeasError, match="strength is too high for this model"):
        StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=1)
    assert not any((tmp_path / "pool").iterdir())  # another strength can be tried at once


def test_drawing_reaches_the_model(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    drawing = DrawConfig(count=(1, 3), size=(4, 9), references=("a.png",), gate=False)
    producer = Producer(settings(tmp_path, drawing=drawing), COMMAND)
    StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=1)
    producer.stop()
    content = read_record(tmp_path / "pool").settings
    assert DrawConfig.from_plain({name: content[name] for name in ("count", "size", "references", "gate")}) == drawing
    assert content["stream"] and "severity" not in content


def never_after(folder: Path, accepted: int) -> Producer:
    """Return a producer whose gate accepts so many holes and then no more."""
    make_run(folder / "run")
    fake = FAKE.replace("FakePipeline()", f"FakePipeline({{'hole': range({accepted}, 10**6)}})")
    fake = fake.replace("sys.exit", "stream._GIVEN_UP = 9; sys.exit")
    return Producer(settings(folder, uses=1), (sys.executable, "-c", fake))


def test_stream_that_gives_up_is_told_and_training_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    producer = never_after(tmp_path, 6)
    pool = StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=6)
    with caplog.at_level(logging.WARNING):
        pool.draw(torch.Generator(), 60, (8, 8))
        wait_until(lambda: producer.why_ended() is not None)
        pool.draw(torch.Generator(), 4, (8, 8))
    assert caplog.text.count("not renewed any more (hole: the gate refused") == 1
    producer.stop()


def test_stream_without_any_pair_of_a_type_is_a_mistake(tmp_path: Path) -> None:
    producer = never_after(tmp_path, 0)
    with pytest.raises(
        SeasError, match=r"no pairs for .*: hole: the gate refused \d+ seeds in a row; fine-tune longer"
    ):
        StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=2)
    producer.stop()


def test_options_that_do_not_go_together(category: Path, generated: Path) -> None:
    for options in ({"generated": str(generated)}, {"source": "cutpaste"}):
        with pytest.raises(SeasError, match=r"augmentation\.stream renews"):
            SeasAugmentation(stream=True, **options).setup(make_trainer(category), Draem(), "fit")
    for options in ({"generated": str(generated)}, {"source": "cutpaste"}):
        with pytest.raises(SeasError, match=r"augmentation\.drawing says"):
            SeasAugmentation(drawing=DrawConfig(strength=0.2), **options).setup(make_trainer(category), Draem(), "fit")
    with pytest.raises(SeasError, match=r"stream_max_uses is 3, but .* at least 4"):
        SeasAugmentation(stream=True, stream_max_uses=3).setup(make_trainer(category), Draem(), "fit")
    with pytest.raises(SeasError, match="stream_uses is 0"):
        SeasAugmentation(stream=True, stream_uses=0).setup(make_trainer(category), Draem(), "fit")


def test_callback_starts_and_ends_the_stream(
    category: Path, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    (run / "split.json").write_bytes((generated / "split.json").read_bytes())
    fake = FAKE.replace("FakePipeline()", "type('P', (FakePipeline,), {'anomaly_types': ('hole', 'scratch')})()")
    original = Producer.__init__
    monkeypatch.setattr(Producer, "__init__", lambda self, chosen: original(self, chosen, (sys.executable, "-c", fake)))
    callback = SeasAugmentation(run=str(run), stream=True, num_images=4, stream_uses=1, probability=1.0)
    trainer, model = make_trainer(category), Draem()
    callback.setup(trainer, model, "fit")
    producer = callback._producer
    assert producer is not None and callback._defects is not None
    assert isinstance(callback._defects.pool, StreamedPool)
    assert callback._defects.pool.anomaly_types == ("hole", "scratch")
    folder = callback._defects.pool.folder
    callback.on_train_start(trainer, model)
    for _ in range(10):
        callback._defects.pool.draw(callback._defects.generator, 2, (64, 64))
    wait_until(lambda: max(entry["index"] for entry in read_manifest(folder)) >= 8)
    pid = producer.pid
    callback.teardown(trainer, model, "fit")
    assert not is_alive(pid)
    again = SeasAugmentation(run=str(run), stream=True, num_images=4, stream_uses=1)
    again.setup(make_trainer(category), Draem(), "fit")
    assert again._defects is not None and again._defects.pool.folder == folder  # goes on with what is there
    again.teardown(trainer, model, "fit")


def test_a_rank_waits_for_the_first_one_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rank has died before there was a pair, or afterwards."""
    monkeypatch.setattr(streamed, "_LONGEST_WAIT_FOR_OTHERS", 0.5)
    started = time.monotonic()
    with pytest.raises(SeasError, match=r"no new pair came for 0 min \(no process makes them\); end that process"):
        StreamedPool(Follower(), tmp_path / "pool", ("crack",), first=1)
    assert time.monotonic() - started < 20


def test_a_producer_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "run")
    monkeypatch.setattr(streamed, "_LONGEST_WAIT", 0.5)
    producer = Producer(settings(tmp_path), [sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with pytest.raises(SeasError, match=rf"no new pair came for 0 min \(process {producer.pid} makes them\)"):
            StreamedPool(producer, tmp_path / "pool", ("crack", "hole"), first=1)
    finally:
        producer._process.kill()
        producer.stop()
