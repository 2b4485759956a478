# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator
from lightning.pytorch import LightningModule

from seas_aug.anomalib_plugin import DetectorAdapter, SeasAugmentation, register_adapter, registry
from seas_aug.errors import SeasError
from tests.anomalib_plugin.stand_ins import make_trainer


class Nothing(DetectorAdapter):
    def attach(self, model, source) -> None: ...

    def prepare_batch(self, model, batch) -> None: ...

    def detach(self, model) -> None: ...


def test_third_party_detector_and_its_subclass(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.registered_detectors()  # the built-in ones are registered when they are first imported
    monkeypatch.setattr(registry, "_ADAPTERS", dict(registry._ADAPTERS))
    assert register_adapter("MyDetector")(Nothing) is Nothing
    my_detector = type("MyDetector", (LightningModule,), {})
    assert isinstance(registry.find_adapter(my_detector()), Nothing)
    assert isinstance(registry.find_adapter(type("Mine", (my_detector,), {})()), Nothing)


def test_a_third_party_may_replace_a_built_in_adapter_in_a_fresh_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from seas_aug.anomalib_plugin import register_adapter\n"
        "from seas_aug.anomalib_plugin.draem import DraemAdapter\n"
        "@register_adapter('Draem')\nclass Mine(DraemAdapter): ...\n"
    )
    code = (
        "from lightning.pytorch import LightningModule\n"
        "from seas_aug.anomalib_plugin.registry import find_adapter, import_adapters\n"
        "import_adapters('mine')\n"
        "print(type(find_adapter(type('Draem', (LightningModule,), {})())).__name__)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "Mine"


def test_an_adapter_of_a_one_class_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.registered_detectors()
    monkeypatch.setattr(registry, "_ADAPTERS", dict(registry._ADAPTERS))
    monkeypatch.setattr(registry, "ONE_CLASS_DETECTORS", set(registry.ONE_CLASS_DETECTORS))
    patchcore = type("Patchcore", (LightningModule,), {})
    sharper = type("Sharper", (patchcore,), {})
    assert registry.is_one_class(patchcore()) and registry.is_one_class(sharper())
    register_adapter("Sharper")(Nothing)
    assert registry.is_one_class(patchcore()) and not registry.is_one_class(sharper())
    mine = type("Mine", (LightningModule,), {})
    assert not registry.is_one_class(mine())
    registry.register_one_class("Mine")
    assert registry.is_one_class(mine())


def test_detector_without_adapter() -> None:
    with pytest.raises(
        SeasError, match=r"WinClip has no adapter .* works with Draem, Dsr, Glass, Supersimplenet, UniNet"
    ):
        registry.find_adapter(type("WinClip", (LightningModule,), {})())


def test_the_file_in_the_docs_adds_a_detector(
    category: Path, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file, as docs/anomalib.md shows it, and the option that loads it."""
    text = (Path(__file__).parents[2] / "docs" / "anomalib.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    (tmp_path / "my_adapter_of_the_docs.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.registered_detectors()  # the built-in ones are registered when they are first imported
    monkeypatch.setattr(registry, "_ADAPTERS", dict(registry._ADAPTERS))

    class MyDetector(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.synthesise = PerlinAnomalyGenerator()

    model, trainer = MyDetector(), make_trainer(category)
    own = model.synthesise
    options = {"generated": str(generated), "probability": 1.0, "adapters": ["my_adapter_of_the_docs"]}
    callback = SeasAugmentation(**options)
    callback.setup(trainer, model, "fit")
    batch = SimpleNamespace(image=torch.rand(4, 3, 64, 64))
    callback.on_train_batch_start(trainer, model, batch, 0)
    images, masks = model.synthesise(batch.image)
    assert masks.flatten(1).any(1).all()
    assert torch.equal(images[~masks.bool().expand_as(images)], batch.image[~masks.bool().expand_as(images)])
    callback.teardown(trainer, model, "fit")
    assert model.synthesise is own
    with pytest.raises(SeasError, match="names no_such_module, which cannot be imported"):
        SeasAugmentation(**{**options, "adapters": ["no_such_module"]}).setup(trainer, model, "fit")
