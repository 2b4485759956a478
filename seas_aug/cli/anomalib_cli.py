# SPDX-License-Identifier: Apache-2.0
"""anomalib's own command line with one more top-level key, ``augmentation``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalib.cli.cli import AnomalibCLI
from anomalib.loggers import configure_logger
from jsonargparse import ArgumentParser
from lightning.pytorch import Callback

from seas_aug.anomalib_plugin.callback import SeasAugmentation
from seas_aug.anomalib_plugin.sources import Origin
from seas_aug.anomalib_plugin.textures import dtd_reachable, make_textures, stand_in_folder
from seas_aug.artifact.lock import CACHE_PATIENCE, only_writer
from seas_aug.config import DrawConfig

_EVALUATING = ("fit", "train", "validate", "test")
_DTD_DEFAULT = Path("datasets/dtd")
_SAVED_BY_TRAINING = ("optimizer", "lr_scheduler")
_HELP = (
    "Anomalies that the detector trains on: `seas` (generated; fine-tunes on a few of the datamodule's defects if need "
    "be), `cutpaste` (those defects pasted on normal images), `perlin` (anomalib's own) or `none`, all evaluated on "
    "the same images, or a mapping with class_path seas_aug.anomalib_plugin.SeasAugmentation and init_args."
)


class SeasCLI(AnomalibCLI):
    """``AnomalibCLI`` with ``augmentation`` in every sub-command; without the key everything is anomalib's own.

    Args:
        args: arguments without the program's name; None takes those of the process.
        run: also run the sub-command.
    """

    def add_trainer_arguments(self, parser: ArgumentParser, subcommand: str) -> None:
        """Add the arguments of fit, validate and test."""
        super().add_trainer_arguments(parser, subcommand)
        _add_augmentation(parser)

    def add_train_arguments(self, parser: ArgumentParser) -> None:
        """Add the arguments of train."""
        super().add_train_arguments(parser)
        _add_augmentation(parser)

    def add_predict_arguments(self, parser: ArgumentParser) -> None:
        """Add the arguments of predict, where the key is accepted and has no effect."""
        super().add_predict_arguments(parser)
        _add_augmentation(parser)
        _add_ignored(parser)

    def add_export_arguments(self, parser: ArgumentParser) -> None:
        """Add the arguments of export, where the key is accepted and has no effect."""
        super().add_export_arguments(parser)
        _add_augmentation(parser)
        _add_ignored(parser)

    def before_instantiate_classes(self) -> None:
        """Let detectors that want DTD start without it, see :mod:`seas_aug.anomalib_plugin.textures`.

        Raises:
            SeasError: a setting of drawing is out of range.
        """
        super().before_instantiate_classes()
        options = self.config.get(str(self.subcommand))
        if options is not None:
            _check_drawing(options.get("augmentation"))
        if options is not None and options.get("model") is not None:
            _fill_dtd_dir(options["model"], options.get("augmentation"))

    def instantiate_engine(self) -> None:
        """Put the augmentation under the trainer's callbacks, then build anomalib's engine."""
        chosen: Origin | Callback | None = self._get(self.config_init, "augmentation")
        if chosen is not None and self.subcommand in _EVALUATING:
            callback = SeasAugmentation(source=chosen) if isinstance(chosen, str) else chosen
            trainer = self._get(self.config_init, "trainer")
            own = trainer.get("callbacks") or []
            trainer["callbacks"] = [*(own if isinstance(own, list) else [own]), callback]
        super().instantiate_engine()


def run(arguments: Sequence[str]) -> None:
    """Run one of anomalib's sub-commands.

    Args:
        arguments: sub-command first.
    """
    configure_logger()
    SeasCLI(list(arguments))


def _add_augmentation(parser: ArgumentParser) -> None:
    parser.add_argument("--augmentation", type=Origin | Callback | None, default=None, help=_HELP)


def _add_ignored(parser: ArgumentParser) -> None:
    """Add what anomalib saves of a training, so that the saved file can be read by predict and export too."""
    for name in _SAVED_BY_TRAINING:
        parser.add_argument(f"--{name}", type=Any, default=None, help="Of a training; not used here.")


def _check_drawing(augmentation: Any) -> None:
    """Refuse settings of drawing in one sentence, which jsonargparse would bury in an account of all that it tried."""
    options = None if augmentation is None or isinstance(augmentation, str) else augmentation.get("init_args")
    drawing = None if options is None else options.get("drawing")
    if drawing is not None:
        DrawConfig(**drawing.as_dict())


def _fill_dtd_dir(model: Any, augmentation: Any) -> None:
    """Point ``model.init_args.dtd_dir`` to stand-in textures where DTD is neither there, nor needed or reachable.

    Without ``augmentation`` everything stays as anomalib has it.
    """
    init_args = model.get("init_args")
    if augmentation is None or init_args is None or "dtd_dir" not in init_args:
        return
    stand_in = stand_in_folder()
    folder = init_args["dtd_dir"]
    if folder is None or Path(folder).is_dir() or Path(folder) not in {_DTD_DEFAULT, stand_in}:
        return
    needed = _needs_textures(augmentation)
    if needed and dtd_reachable():
        return
    with only_writer(stand_in.parent, "rendering textures", CACHE_PATIENCE):
        init_args["dtd_dir"] = str(make_textures(stand_in))
    reason = "cannot be downloaded here" if needed else "is not read with SeaS pairs"
    note = "; Perlin anomalies are filled with these simpler textures" if needed else ""
    print(f"seas-aug: DTD {reason}, dtd_dir is set to the rendered textures in {stand_in}{note}.", flush=True)


def _needs_textures(augmentation: Any) -> bool:
    if isinstance(augmentation, str):
        return augmentation == "perlin"
    options = augmentation.get("init_args") or {}
    return options.get("source", "seas") == "perlin" or (options.get("perlin_ratio") or 0) > 0
