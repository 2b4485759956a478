# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks.embedded_base import main, measure_background, measure_type
from seas_aug.anomalib_plugin.pool import PoolEntry
from seas_aug.config import DrawConfig
from seas_aug.generate.run import generate
from tests.benchmarks.conftest import TYPES


@pytest.fixture(scope="session")
def generated(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs of each type, of which the gate would refuse some: the demo's model has hardly learnt anything."""
    folder = tmp_path_factory.mktemp("generated") / "pairs"
    generate(demo / "run", folder, 2, settings=DrawConfig(gate=False), accelerator="cpu")
    return folder


def arguments(demo: Path, generated: Path, output: Path) -> list[str]:
    root = demo / "board"
    folders = [f"--run={demo / 'run'}", f"--generated={generated}", f"--output={output}"]
    return [f"--data.root={root}", f"--split={root / 'split.json'}", *folders]


def _noise(n: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_copies_are_counted_and_are_not_various() -> None:
    few_shot, real = _noise(2, 0), _noise(6, 1)
    copied = measure_type(real, few_shot, torch.cat([few_shot[:1].flip(-1).expand(3, -1, -1, -1), _noise(1, 2)]))
    assert copied["copies"] == pytest.approx(0.75)
    own = measure_type(real, few_shot, _noise(6, 3))
    assert own["copies"] == 0
    assert own["diversity"] > copied["diversity"]
    assert own["kid"] < measure_type(real, few_shot, _noise(6, 3) // 3)["kid"]


def test_background_leaves_out_the_mask(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.png" for name in ("image", "mask", "reference", "other")}
    reference, mask = np.full((32, 32, 3), 100, np.uint8), np.zeros((32, 32), np.uint8)
    image = reference + 4
    image[:16], mask[:16] = 250, 255
    pictures = {"image": image, "mask": mask, "reference": reference, "other": reference + 7}
    for name, picture in pictures.items():
        cv2.imwrite(str(paths[name]), picture)
    entry = PoolEntry(paths["image"], paths["mask"], paths["reference"], "hole")
    found = measure_background([entry], [paths["reference"], paths["other"]], 32)
    assert found == {"model": pytest.approx(4), "normals": pytest.approx(7)}


def test_command_adds_to_the_file(demo: Path, generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "results.json"
    output.write_text(json.dumps({"categories": {"other": {"kid": 1.0}}}))
    first = [f"--first_run={demo / 'run'}", f"--first_generated={generated}"]
    assert main([*arguments(demo, generated, output), *first]) == 0
    content = json.loads(output.read_text())
    assert content["categories"]["other"] == {"kid": 1.0}
    found = content["categories"]["board"]
    assert tuple(found["types"]) == TYPES
    assert found["kid_first"] == found["kid"] == pytest.approx(np.mean([t["kid"] for t in found["types"].values()]))
    assert set(found["psnr"]) == set(found["psnr_in_mask"]) == {"model", "bicubic4"}
    assert content["training_data"] == {"scenes": 40, "files": []}
    assert f"{found['mask_iou']:.3f} pooled" in capsys.readouterr().out


def test_mistakes(demo: Path, generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "results.json"
    with pytest.raises(SystemExit):
        main([*arguments(demo, generated, output), f"--first_run={demo / 'run'}"])
    assert "belong together" in capsys.readouterr().err
    output.write_text("[]")
    assert main(arguments(demo, generated, output)) == 2
    assert "no results file of this command" in capsys.readouterr().err
    assert output.read_text() == "[]"
