# SPDX-License-Identifier: Apache-2.0
"""The main job from end to end on a rendered category: fine-tune, generate, train a detector with and without SeaS."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seas_aug.artifact.atomic import atomic_folder, recover_folder
from seas_aug.config import DataConfig, DrawConfig, FineTuneConfig, GeneratorConfig, MaskConfig
from seas_aug.report.demo_detector import DetectorSettings
from seas_aug.report.demo_folders import SOURCES, DemoFolders, read_metrics
from seas_aug.report.stages import Stages

if TYPE_CHECKING:
    from seas_aug.data.category import DefectSample

_SHOWN = 4


@dataclass(frozen=True)
class DemoSettings:
    """How much the demo does: little, so that two CPU cores with bfloat16 need less than twelve minutes.

    Args:
        base: see :class:`~seas_aug.config.FineTuneConfig`.
        width: of the rendered photos in pixels; defects are 20 to 60 px large whatever it is.
        height: likewise.
        image_size: side of the model's pictures in pixels; None takes the base's own.
        detector_size: side in pixels that all images are scaled to for the detector.
        normals: rendered normal images for training.
        per_type: rendered defect images per type.
        few_shot: how many of them are fine-tuned on; the others are the test.
        generator_steps: updates of the generator.
        mask_steps: updates of the mask branch.
        pairs_per_type: generated pairs per type.
        inference_steps: solver steps per generated image.
        detector: the detector's training.
    """

    base: str = "embedded"
    width: int = 800
    height: int = 600
    image_size: int | None = None
    detector_size: int = 224
    normals: int = 30
    per_type: int = 14
    few_shot: int = 6
    generator_steps: int = 300
    mask_steps: int = 240
    pairs_per_type: int = 14
    inference_steps: int = 20
    detector: DetectorSettings = field(default_factory=DetectorSettings)


def run_demo(output: Path, seed: int = 0, settings: DemoSettings | None = None) -> Path:
    """Run every stage that is not done yet and write the page.

    Args:
        output: folder to write; a half-done demo in it is continued.
        seed: seed of everything random.
        settings: how much to do; None takes the defaults.

    Returns:
        The page, ``index.html``; ``contact_sheet.png`` lies beside it.

    Raises:
        SeasError: ``output`` holds something else, or a stage is not possible.
    """
    chosen = settings or DemoSettings()
    folders = DemoFolders(Path(output))
    stages = Stages(folders.output, {"seed": seed, **dataclasses.asdict(chosen)}, count=5 + len(SOURCES) - 1)
    stages.run("render a category", lambda: _render(folders, chosen, seed))
    stages.run("fine-tune", lambda: _fine_tune(folders, chosen, seed))
    stages.run("generate pairs", lambda: _generate(folders, chosen, seed))
    for source in SOURCES:
        stages.run(f"train and test DRAEM ({source})", partial(_detect, folders, chosen, seed, source))
    stages.run("draw the page", lambda: _draw(folders, chosen, seed, stages))
    print(_summary(folders, stages), flush=True)
    return folders.page


def commands(folders: DemoFolders, settings: DemoSettings, seed: int) -> dict[str, list[str]]:
    """Return the arguments of ``seas-aug`` that the demo runs, per command."""
    return {
        "finetune": [
            f"--data.root={folders.category}",
            f"--few_shot={folders.split}",
            f"--output={folders.run}",
            f"--base={settings.base}",
            f"--seed={seed}",
            *([] if settings.image_size is None else [f"--data.image_size={settings.image_size}"]),
            f"--generator.max_steps={settings.generator_steps}",
            f"--masks.max_steps={settings.mask_steps}",
            "--preview_every=0",
        ],
        "generate": [
            f"--run={folders.run}",
            f"--output={folders.generated}",
            f"--num_images={settings.pairs_per_type}",
            f"--seed={seed}",
            f"--num_inference_steps={settings.inference_steps}",
        ],
    }


def shown_tests(folders: DemoFolders) -> dict[str, list[DefectSample]]:
    """Return the held-out defects that the page shows, per type."""
    from seas_aug.data.split_file import load_split
    from seas_aug.report.pictures import spread

    held_out = load_split(folders.run / "split.json").split.held_out
    return {name: spread(samples, _SHOWN) for name, samples in held_out.items()}


def _render(folders: DemoFolders, settings: DemoSettings, seed: int) -> None:
    from seas_aug.base.renderer.board import BoardSettings, render_board

    board = BoardSettings(settings.width, settings.height)
    tests = max(2, settings.normals // 2)
    render_board(folders.category, seed, board, settings.normals, tests, settings.per_type, settings.few_shot)


def _fine_tune(folders: DemoFolders, settings: DemoSettings, seed: int) -> None:
    from seas_aug.finetune.run import finetune

    finetune(fine_tuning(folders, settings, seed))


def fine_tuning(folders: DemoFolders, settings: DemoSettings, seed: int) -> FineTuneConfig:
    """Return the settings that the first of :func:`commands` stands for."""
    return FineTuneConfig(
        output=folders.run,
        base=settings.base,
        seed=seed,
        preview_every=0,
        data=DataConfig(root=folders.category, few_shot=str(folders.split), image_size=settings.image_size),
        generator=GeneratorConfig(max_steps=settings.generator_steps),
        masks=MaskConfig(max_steps=settings.mask_steps),
    )


def _generate(folders: DemoFolders, settings: DemoSettings, seed: int) -> None:
    from seas_aug.generate.run import generate

    steps = DrawConfig(num_inference_steps=settings.inference_steps)
    generate(folders.run, folders.generated, settings.pairs_per_type, seed=seed, settings=steps)


def _detect(folders: DemoFolders, settings: DemoSettings, seed: int, source: Literal["seas", "perlin"]) -> None:
    """Leave ``metrics.json`` and ``maps.safetensors`` in the detector's folder."""
    from safetensors.torch import save_file

    from seas_aug.anomalib_plugin.textures import make_textures
    from seas_aug.report.demo_detector import train_and_test

    target = folders.detector(source)
    recover_folder(target)
    if (target / "metrics.json").is_file():
        return
    with atomic_folder(target) as folder:
        metrics, maps = train_and_test(
            folders.category,
            folders.run,
            folders.generated,
            source,
            make_textures(folders.output / "textures", size=settings.detector_size, seed=seed),
            folder / "anomalib",
            settings.detector,
            seed,
            settings.detector_size,
            [sample.image for samples in shown_tests(folders).values() for sample in samples],
        )
        save_file({"maps": maps.contiguous()}, folder / "maps.safetensors")
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")


def _draw(folders: DemoFolders, settings: DemoSettings, seed: int, stages: Stages) -> None:
    from seas_aug.report.demo_page import write_page

    lines = [" ".join(["seas-aug", name, *arguments]) for name, arguments in commands(folders, settings, seed).items()]
    write_page(folders, SOURCES, shown_tests(folders), lines, {"seed": seed, **dataclasses.asdict(settings)}, stages)


def _summary(folders: DemoFolders, stages: Stages) -> str:
    from seas_aug.report.demo_detector import METRICS

    measured = read_metrics(folders)
    lines = [f"{'test on held-out defects':<26}" + "".join(f"{source:>10}" for source in SOURCES)]
    lines += [
        f"{title:<26}" + "".join(f"{measured[source][name]:>10.4f}" for source in SOURCES)
        for name, title in METRICS.items()
    ]
    total = sum(stages.seconds.values())
    return "\n".join([*lines, f"seas-aug: {total:.0f} s in all; look at {folders.page}."])
