# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from types import ModuleType
from typing import Any

import pytest

from seas_aug import __version__
from seas_aug.cli.main import ANOMALIB_COMMANDS, OWN_COMMANDS, main
from seas_aug.errors import SeasError


def make_command(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(arguments: list[str]) -> None:
        calls.append(arguments)
        if error is not None:
            raise error

    module = ModuleType("seas_aug.cli.finetune")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seas_aug.cli.finetune", module)
    return calls


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for name, text in {**OWN_COMMANDS, **ANOMALIB_COMMANDS}.items():
        assert name in printed
        assert text in printed


def test_version(capsys: pytest.CaptureFixture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"seas-aug {__version__}"


def test_arguments_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = make_command(monkeypatch, None)
    assert main(["finetune", "--a", "b"]) == 0
    assert calls == [["--a", "b"]]


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (SeasError("The folder x is empty; give another."), 2, "seas-aug: error: The folder x is empty; give another."),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 2, "seas-aug: error: The disk is full (/x/y)"),
        (ImportError("libGL.so.1: cannot open shared object file"), 2, "opencv-python-headless"),
        (KeyboardInterrupt(), 130, "run the same command again to continue"),
    ],
)
def test_errors_are_one_sentence(
    error: BaseException, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    make_command(monkeypatch, error)
    assert main(["finetune"]) == code
    printed = capsys.readouterr().err
    assert sentence in printed
    assert printed.count("\n") == 1


def test_lightnings_exit_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(arguments: list[str]) -> None:
        del arguments
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    make_command(monkeypatch, None)
    monkeypatch.setattr(sys.modules["seas_aug.cli.finetune"], "run", run)
    assert main(["finetune"]) == 130


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), SystemExit(2), ValueError("a bug")])
def test_other_errors_stay_visible(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    make_command(monkeypatch, error)
    with pytest.raises(type(error)):
        main(["finetune"])


def test_unknown_command(capsys: pytest.CaptureFixture) -> None:
    assert main(["nonsense"]) == 2
    assert (
        "'nonsense' is no command; give one of finetune, generate, benchmark, departures, demo, train"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["finetune", "--help"], ["generate", "--help"], ["benchmark", "--help"]]
)
def test_help_is_quick_and_light(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom seas_aug.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as error:\n    assert not error.code\n"
        "assert not {'torch', 'anomalib', 'lightning'} & set(sys.modules)\n"
    )
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, env={**os.environ})
    assert time.perf_counter() - start < 10  # 0.4 s on an idle machine


def test_module_is_the_command() -> None:
    done: Any = subprocess.run(
        [sys.executable, "-m", "seas_aug", "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("seas-aug: error: 'nonsense'")
