# SPDX-License-Identifier: Apache-2.0
import dataclasses
import os

from seas_aug.benchmark.grid import CategoryFolders
from seas_aug.benchmark.prepare import data_of
from seas_aug.benchmark.test_set import read_test_set


def test_relative_and_linked_folders_are_the_same_images(folders: CategoryFolders, tmp_path, monkeypatch):
    whole = read_test_set(folders)
    assert all((folders.root / name).is_file() for name in whole.names)
    monkeypatch.chdir(tmp_path)
    relative = dataclasses.replace(folders, root=type(folders.root)(os.path.relpath(folders.root, tmp_path)))
    assert not relative.root.is_absolute()
    assert read_test_set(relative) == whole
    (tmp_path / folders.name).symlink_to(folders.root)
    linked = dataclasses.replace(folders, root=tmp_path / folders.name)
    assert read_test_set(linked) == whole
    assert data_of(linked) == data_of(relative) == data_of(folders)
