# SPDX-License-Identifier: Apache-2.0
import errno
import fcntl
import os
from pathlib import Path

import pytest

from seas_aug.artifact import atomic
from seas_aug.artifact.atomic import (
    append_line,
    atomic_folder,
    atomic_write,
    atomic_write_text,
    recover_folder,
    remove_leftovers,
)
from seas_aug.errors import SeasError


class KillError(BaseException):
    """Stands for the process being killed."""


def test_write_replaces(tmp_path):
    path = tmp_path / "new" / "a.txt"
    atomic_write_text(path, "é1")
    atomic_write_text(path, "é2")
    assert path.read_text(encoding="utf-8") == "é2"
    assert [item.name for item in path.parent.iterdir()] == ["a.txt"]


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")
    with pytest.raises(KillError), atomic_write(path) as file:
        file.write(b"half")
        raise KillError
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("write", [lambda path: atomic_write_text(path, "x"), lambda path: append_line(path, "x")])
def test_full_disk(tmp_path, monkeypatch, write):
    def fail(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SeasError, match="disk full; free space and run again, nothing already made is lost"):
        write(tmp_path / "a.txt")
    assert not list(tmp_path.glob(".*"))


def test_no_folder_possible(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SeasError, match="cannot be written"):
        atomic_write_text(tmp_path / "file" / "a.txt", "x")


@pytest.mark.parametrize("write", [lambda path: atomic_write_text(path, "x"), lambda path: append_line(path, "x")])
def test_read_only_file_system(tmp_path, monkeypatch, write):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(SeasError, match=r"cannot be written \(Read-only file system\); choose an output folder"):
        write(tmp_path / "a.txt")


def test_windows_flushes_only_what_may_be_written_to(tmp_path, monkeypatch):
    """There ``fsync`` of a handle that was opened for reading is a bad file descriptor."""
    real = os.fsync

    def strict(handle):
        if str(Path(f"/proc/self/fd/{handle}").readlink()).startswith(f"{tmp_path}/"):
            assert fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        real(handle)

    monkeypatch.setattr(os, "fsync", strict)
    monkeypatch.setattr(atomic, "_ON_WINDOWS", True)
    monkeypatch.setattr(atomic, "_sync_folder", lambda folder: None)
    _fill(tmp_path / "model", "1")
    assert (tmp_path / "model" / "sub" / "a").read_text() == "1"


@pytest.mark.parametrize("on_windows", [True, False])
def test_a_file_that_is_open_elsewhere_is_replaced_a_little_later(tmp_path, monkeypatch, on_windows):
    """Windows refuses to replace what another process reads just now, as a detector reads the manifest of a stream."""
    refusals, replace = iter(range(3)), type(tmp_path).replace

    def busy(self, target):
        if next(refusals, None) is not None:
            raise PermissionError(13, "Access is denied")
        return replace(self, target)

    atomic_write_text(tmp_path / "manifest", "old")
    monkeypatch.setattr(type(tmp_path), "replace", busy)
    monkeypatch.setattr(atomic, "_ON_WINDOWS", on_windows)
    if on_windows:
        atomic_write_text(tmp_path / "manifest", "new")
        assert (tmp_path / "manifest").read_text() == "new"
        refusals = iter(range(10**9))
        monkeypatch.setattr(atomic, "_REPLACE_FOR", 0.2)
    with pytest.raises(SeasError, match="cannot be written"):
        atomic_write_text(tmp_path / "manifest", "newest")
    assert (tmp_path / "manifest").read_text() == ("new" if on_windows else "old")
    assert len(list(tmp_path.iterdir())) == 1


def test_other_faults_are_not_hidden(tmp_path):
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path / "a"):
        raise IsADirectoryError


def test_lines(tmp_path):
    append_line(tmp_path / "a", "é")
    append_line(tmp_path / "a", "b")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "é\nb\n"


def _fill(path, text):
    with atomic_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text(text)


def test_folder_is_swapped(tmp_path):
    path = tmp_path / "x" / "model"
    _fill(path, "1")
    _fill(path, "2")
    assert (path / "sub" / "a").read_text() == "2"
    assert [item.name for item in path.parent.iterdir()] == ["model"]


def test_failed_folder_leaves_the_old_one(tmp_path):
    path = tmp_path / "model"
    _fill(path, "1")
    with pytest.raises(KillError), atomic_folder(path) as folder:
        (folder / "b").write_text("half")
        raise KillError
    assert (path / "sub" / "a").read_text() == "1"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("step", [1, 2])
def test_killed_between_the_renames(tmp_path, monkeypatch, step):
    path = tmp_path / "model"
    _fill(path, "1")
    calls = 0
    rename = type(path).replace

    def dying(self, target):
        nonlocal calls
        calls += 1
        if calls == step:
            raise KillError
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "replace", dying)
        patch.setattr(atomic, "recover_folder", lambda path: None)  # a killed process cleans nothing up
        with pytest.raises(KillError):
            _fill(path, "2")
    recover_folder(path)
    assert (path / "sub" / "a").read_text() == "1"
    _fill(path, "3")
    assert (path / "sub" / "a").read_text() == "3"


def test_killed_before_the_old_folder_is_gone(tmp_path):
    _fill(tmp_path / "model", "new")
    (tmp_path / ".model.old.seas-tmp").mkdir()
    recover_folder(tmp_path / "model")
    assert [item.name for item in tmp_path.iterdir()] == ["model"]


def test_leftovers(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".a.png.123.seas-tmp").write_text("x")
    (tmp_path / "sub" / "a.png").write_text("x")
    assert remove_leftovers(tmp_path) == 1
    assert [item.name for item in (tmp_path / "sub").iterdir()] == ["a.png"]
    assert remove_leftovers(tmp_path / "nowhere") == 0
