# SPDX-License-Identifier: Apache-2.0
"""Entry point of ``seas-aug``: picks the command and turns errors into one sentence."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module

from seas_aug.errors import SeasError

OWN_COMMANDS = {
    "finetune": "Fine-tune SeaS on one category: normal images and a few defect images with masks.",
    "generate": "Write defect images with masks, and normal images, from a fine-tuned model.",
    "benchmark": "Measure what SeaS gains over Perlin, cut-paste and the real defects alone; or anomalib's benchmark.",
    "departures": "Print what some settings of finetune do not do as published, and why.",
    "demo": "Run everything on a rendered category and leave a page that shows it.",
}
ANOMALIB_COMMANDS = {
    "train": "Train and test an anomalib detector; `augmentation: seas` gives it generated defects.",
    "fit": "Train an anomalib detector.",
    "validate": "Validate an anomalib detector.",
    "test": "Test an anomalib detector.",
    "predict": "Run an anomalib detector on images.",
    "export": "Export an anomalib detector.",
    "install": "Install anomalib's optional packages.",
}
INTERRUPTED = 130
USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        Exit code: 0 after success, 2 after a user's mistake (one sentence on stderr), 130 after Ctrl+C.

    Raises:
        SystemExit: the command's own parser printed its help or refused an argument.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if threading.current_thread() is threading.main_thread():
        # So that a container that is stopped gives its locks back: nobody else can know that it is gone.
        signal.signal(signal.SIGTERM, _terminated)
    try:
        return _dispatch(arguments)
    except SeasError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _interrupted(arguments[0])
    except SystemExit as error:
        # Lightning ends with sys.exit after Ctrl+C
        if isinstance(error.__context__, KeyboardInterrupt):
            return _interrupted(arguments[0])
        raise
    except ImportError as error:
        if "libGL" not in str(error) and "libxcb" not in str(error):
            raise
        return _fail(
            f"OpenCV needs a library of a desktop system ({error}); on a server without a display run 'pip install "
            "--force-reinstall --no-deps opencv-python-headless'."
        )
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _fail(f"The disk is full ({error.filename or 'while writing'}); make room and run the same command.")


def _terminated(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _dispatch(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in {"-h", "--help"}:
        print(_help())
    elif command == "--version":
        from seas_aug import __version__

        print(f"seas-aug {__version__}")
    elif command in OWN_COMMANDS:
        import_module(f"seas_aug.cli.{command}").run(arguments[1:])
    elif command in ANOMALIB_COMMANDS:
        from seas_aug.cli.anomalib_cli import run

        run(arguments)
    else:
        known = ", ".join([*OWN_COMMANDS, *ANOMALIB_COMMANDS])
        message = f"{command!r} is no command; give one of {known}."
        raise SeasError(message)
    return 0


def _help() -> str:
    lines = ["usage: seas-aug COMMAND [OPTIONS]   (seas-aug COMMAND --help lists the options)", "", "SeaS:"]
    lines += [f"  {name:<10} {text}" for name, text in OWN_COMMANDS.items()]
    lines += ["", "anomalib's own commands, with the extra key `augmentation: seas | perlin`:"]
    lines += [f"  {name:<10} {text}" for name, text in ANOMALIB_COMMANDS.items()]
    lines += ["", "options:", "  -h, --help  this text", "  --version   the version"]
    return "\n".join(lines)


def _fail(message: str) -> int:
    print(f"seas-aug: error: {message}", file=sys.stderr)
    return USER_ERROR


def _interrupted(command: str) -> int:
    how = "run the same command again to continue."
    if command in ("train", "fit"):
        how = (
            "run the same command again: what SeaS made is gone on with, the detector starts anew unless `--ckpt_path` "
            "names a checkpoint of it."
        )
    print(f"seas-aug: interrupted; {how}", file=sys.stderr)
    return INTERRUPTED
