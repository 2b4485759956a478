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
    images, found = torch.rand(4, 3, 64, 64), {}
    for bfloat16 in (False, True):
        torch.manual_seed(0)
        network = NarrowDraem(4, 1e-3, 64, textures, bfloat16=bfloat16).model
        network.eval()
        found[bfloat16] = [network(images).anomaly_map.detach()]
        network.train()
        found[bfloat16] += [part.detach() for part in network(images)]
        assert [part.dtype for part in found[bfloat16]] == [torch.float32] * 3
    tested, *trained = zip(found[False], found[True], strict=True)
    assert torch.equal(*tested)
    for whole, half in trained:
        assert not torch.equal(whole, half)
        # Batch norm over a few pixels makes much of little differences.
        assert torch.corrcoef(torch.stack([whole.flatten(), half.flatten()]))[0, 1] > 0.7
