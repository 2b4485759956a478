# SPDX-License-Identifier: Apache-2.0
import pytest
from lightning.pytorch import LightningModule

from seas_aug.anomalib_plugin import DetectorAdapter, register_adapter, registry
from seas_aug.errors import SeasError


class Nothing(DetectorAdapter):
    def attach(self, model, source) -> None: ...

    def prepare_batch(self, model, batch) -> None: ...

    def detach(self, model) -> None: ...


def test_third_party_detector_and_its_subclass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ADAPTERS", dict(registry._ADAPTERS))
    assert register_adapter("MyDetector")(Nothing) is Nothing
    my_detector = type("MyDetector", (LightningModule,), {})
    assert isinstance(registry.find_adapter(my_detector()), Nothing)
    assert isinstance(registry.find_adapter(type("Mine", (my_detector,), {})()), Nothing)


def test_detector_without_adapter() -> None:
    with pytest.raises(
        SeasError, match=r"WinClip has no adapter .* works with Draem, Dsr, Glass, Supersimplenet, UniNet"
    ):
        registry.find_adapter(type("WinClip", (LightningModule,), {})())
