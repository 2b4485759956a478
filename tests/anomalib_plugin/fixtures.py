# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the plugin's and the command line's tests."""

from pathlib import Path

import pytest

from tests.anomalib_plugin import rendered


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.getbasetemp() / "seas_cache"
    monkeypatch.setenv("SEAS_AUG_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered.make_category(tmp_path_factory.mktemp("data") / "part")


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory, category: Path) -> Path:
    return rendered.make_generated(tmp_path_factory.mktemp("generated") / "pairs", category)
