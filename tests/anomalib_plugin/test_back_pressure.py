# SPDX-License-Identifier: Apache-2.0
"""A stream that the training waits for, with a producer in the same process."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from seas_aug.anomalib_plugin import streamed
from seas_aug.anomalib_plugin.producer import Follower
from seas_aug.anomalib_plugin.streamed import StreamedPool
from seas_aug.errors import SeasError
from seas_aug.generate.stream import StreamSettings
from tests.generate.fake import FakePipeline
from tests.generate.test_stream import renewal, run

__all__ = ["run"]
SELDOM = [number for number in range(1000) if number % 3]


class Local(Follower):
    """Stands in for the process: makes the pairs when it is told what was drawn."""

    is_running = True

    def __init__(self, run: Path, output: Path, uses: int = 2, **options: Any) -> None:
        super().__init__(StreamSettings(run, output, 2, uses, ("crack", "hole"), 0, "cpu", None))
        self.renewal = renewal(run, output, num_images=2, uses=uses, **options)
        while not self.renewal.is_full:
            self.renewal.step(0)
        self.told: list[tuple[int, int]] = []
        self.idle = False
        self.why: str | None = None

    def report(self, drawn: int, ahead: int = 0) -> None:
        self.told.append((drawn, ahead))
        for _ in range(9):  # a batch may be refused
            while not self.idle and self.renewal.step(drawn + ahead):
                pass

    def why_ended(self) -> str | None:
        return self.why


def opened(source: Follower, output: Path, **options) -> StreamedPool:
    return StreamedPool(source, output, ("crack", "hole"), first=1, **options)


def draw(pool: StreamedPool, n: int) -> None:
    pool.draw(torch.Generator(), n, (8, 8))


@pytest.fixture
def pause(monkeypatch):
    monkeypatch.setattr(streamed, "_PAUSE", 0.01)


def test_draws_of_all_readers_are_reported(run, tmp_path):
    source = Local(run, tmp_path / "pool")
    pool = opened(source, tmp_path / "pool", readers=3)
    draw(pool, 2)
    draw(pool, 2)
    assert source.told == [(6, 0), (12, 0)]
    assert pool.drawn == 4


@pytest.mark.usefixtures("pause")
@pytest.mark.parametrize(("n", "readers", "uses", "most"), [(1, 1, 2, 2), (3, 2, 3, 4), (20, 1, 2, 2), (3, 4, 1, 1)])
def test_no_pair_is_used_more_often_than_allowed(run, tmp_path, n, readers, uses, most):
    """And it never waits in vain, not even for more pairs than lie in the pool."""
    source = Local(run, tmp_path / "pool", uses)
    pool = opened(source, tmp_path / "pool", readers=readers, max_uses=most)
    for _ in range(6 if n > 1 else 20):
        draw(pool, n)
        assert pool.drawn * readers <= most * pool.distinct
    draw(pool, 0)
    assert pool.distinct == 4 + source.renewal.renewed  # no more than stated, and those that were never seen too


@pytest.mark.usefixtures("pause")
def test_training_waits_for_new_pairs_and_is_told_once(run, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(streamed, "_PATIENCE_FOR_PAIRS", 0.05)
    monkeypatch.setattr(streamed, "_PATIENCE_FOR_OTHERS", 0.0)  # not for who can ask for pairs itself
    source = Local(run, tmp_path / "pool")
    pool = opened(source, tmp_path / "pool", max_uses=2)
    source.idle = True
    draw(pool, 8)  # four pairs, twice each
    for _ in range(2):
        start, source.idle = time.monotonic(), True
        timer = threading.Timer(0.3, setattr, (source, "idle", False))
        timer.start()
        draw(pool, 8)
        timer.join()
        assert time.monotonic() - start > 0.25
        assert pool.drawn <= 2 * pool.distinct
    assert caplog.text.count("Training waits for new pairs") == 1
    source.idle, source.why = True, "disk full"
    draw(pool, 40)  # does not wait: nobody makes any
    assert "disk full" in caplog.text


@pytest.mark.usefixtures("pause")
def test_follower_waits_but_not_for_ever(run, tmp_path, monkeypatch):
    source, follower = Local(run, tmp_path / "pool"), Follower()
    pool = opened(follower, tmp_path / "pool", max_uses=2)
    assert pool.producer_pid is None and follower.why_ended() is None
    draw(pool, 8)
    timer = threading.Timer(0.3, source.report, (8,))
    timer.start()
    draw(pool, 1)
    assert pool.distinct > 4
    timer.join()
    monkeypatch.setattr(streamed, "_PATIENCE_FOR_OTHERS", 0.2)
    start = time.monotonic()
    draw(pool, 30)
    assert time.monotonic() - start > 0.2
    follower.stop()


def test_numbers_that_cannot_be(run, tmp_path):
    source, output = Local(run, tmp_path / "pool", uses=4), tmp_path / "pool"
    with pytest.raises(SeasError, match=r"max_uses is 3, and a new pair is made for 4 .* give at least 4"):
        opened(source, output, max_uses=3)
    with pytest.raises(SeasError, match="max_uses is 0"):
        opened(Follower(), output, max_uses=0)
    with pytest.raises(SeasError, match="readers is 0"):
        opened(source, output, readers=0)


def test_refused_seeds_are_no_pairs(run, tmp_path):
    """Each pair is drawn so many times at most, however many seeds the gate refuses between two of them."""
    source = Local(run, tmp_path / "pool", pipeline=FakePipeline({name: SELDOM for name in ("crack", "hole")}))
    pool = opened(source, tmp_path / "pool", max_uses=2)
    for _ in range(20):
        draw(pool, 3)
        accepted = {entry for entry in source.renewal._pipe.asked if entry[1] not in SELDOM}
        assert pool.distinct <= len(accepted)
        assert pool.drawn <= 2 * pool.distinct
    assert pool.distinct >= 20
