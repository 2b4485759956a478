# SPDX-License-Identifier: Apache-2.0
"""What is changed of anomalib's DRAEM."""

from __future__ import annotations

import pytest
import torch

from seas_aug.anomalib_plugin.textures import make_textures
from seas_aug.benchmark.narrow_draem import NarrowDraem


@pytest.mark.parametrize("label", [0, 1])
def test_a_wrong_pixel_costs_the_same_whatever_its_class(tmp_path, label):
    """Focal loss with gamma 2, written out; anomalib's own gives the background no weight at all."""
    model = NarrowDraem(4, 1e-3, 32, str(make_textures(tmp_path / "textures", size=32, seed=0)))
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 1 - label] = 2.0
    p_true = float(torch.tensor([0.0, 2.0]).softmax(0)[0])
    expected = -((1 - p_true) ** 2) * torch.tensor(p_true).log().item()
    found = model.loss.focal_loss(logits, torch.full((1, 4, 4), label))
    # kornia's mean runs over all elements of the one-hot map, which has two per pixel.
    assert float(found) == pytest.approx(expected / 2, rel=1e-3)


def test_half_precision_is_for_the_layers_in_training(tmp_path):
    textures = str(make_textures(tmp_path / "textures", size=32, seed=0))
    images, found = torch.rand(2, 3, 32, 32), {}
    for bfloat16 in (False, True):
        torch.manual_seed(0)
        network = NarrowDraem(4, 1e-3, 32, textures, bfloat16=bfloat16).model
        found[bfloat16] = [part.detach() for part in network.train()(images)]
        assert [part.dtype for part in found[bfloat16]] == [torch.float32] * 2
        found[bfloat16].append(network.eval()(images).anomaly_map.detach())
    reconstruction, prediction, anomaly_map = zip(found[False], found[True], strict=True)
    for whole, half in (reconstruction, prediction):
        assert not torch.equal(whole, half)
        torch.testing.assert_close(whole, half, atol=0.1, rtol=0.1)
    # Tested alike; batch norm has seen one batch of the other precision.
    torch.testing.assert_close(*anomaly_map, atol=1e-2, rtol=0)
