# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.attention import AttentionStore, CapturedLayer, anomaly_heatmap, reduce_maps
from seas_aug.errors import SeasError


def make_store(layers_per_block):
    """Random layers; keys are (block, side), values the number of layers."""
    store = AttentionStore()
    for (block, side), count in layers_per_block.items():
        for index in range(count):
            name = f"{block}.attentions.{index}.attn2"
            store.layers[name] = CapturedLayer(name, torch.rand(2, 3, side, side))
    return store


def test_blocks_count_equally_whatever_their_number_of_layers():
    store = make_store({("down_blocks.1", 4): 2, ("up_blocks.2", 4): 3, ("down_blocks.2", 2): 2})
    layers = [layer.map for layer in store.layers.values()]
    expected = ((layers[0] + layers[1]) / 2 + (layers[2] + layers[3] + layers[4]) / 3) / 2
    reduced = reduce_maps(store)
    torch.testing.assert_close(reduced[4], expected)
    torch.testing.assert_close(reduced[2], (layers[5] + layers[6]) / 2)


def test_official_never_sees_the_up_blocks():
    store = make_store({("down_blocks.1", 4): 2, ("up_blocks.2", 4): 3})
    layers = [layer.map for layer in store.layers.values()]
    down = (layers[0] + layers[1]) / 2
    torch.testing.assert_close(reduce_maps(store, official=True)[4], (down + down) / 2)
    assert not torch.allclose(reduce_maps(store)[4], down)


def test_both_agree_on_down_blocks_alone():
    store = make_store({("down_blocks.1", 4): 2, ("down_blocks.2", 2): 1})
    for side, reduced in reduce_maps(store, official=True).items():
        torch.testing.assert_close(reduced, reduce_maps(store)[side])


def test_nothing_captured():
    with pytest.raises(SeasError, match="No attention map was captured"):
        reduce_maps(AttentionStore())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 40))
def test_heatmap_has_range_shape_and_images_apart(batch, normal, anomaly, size):
    maps = {side: torch.rand(batch, normal + anomaly, side, side) for side in (8, 4)}
    heatmap = anomaly_heatmap(maps, normal, size)
    assert heatmap.shape == (batch, 1, size, size)
    assert heatmap.min() >= 0
    assert heatmap.max() <= 1
    alone = anomaly_heatmap({side: tokens[:1] for side, tokens in maps.items()}, normal, size)
    torch.testing.assert_close(heatmap[:1], alone)


def test_heatmap_points_at_the_anomaly_tokens_and_ignores_normal_ones():
    tokens = torch.zeros(1, 3, 4, 4)
    tokens[0, 0, 0, 0] = 100
    tokens[0, 1:, 2, 3] = 1e-4
    heatmap = anomaly_heatmap({4: tokens}, 1, 4)
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 2, 3] = 1
    torch.testing.assert_close(heatmap, expected)
    assert torch.equal(anomaly_heatmap({4: torch.ones(1, 2, 4, 4)}, 1, 8), torch.zeros(1, 1, 8, 8))


def test_heatmap_errors():
    with pytest.raises(ValueError, match="no anomaly token"):
        anomaly_heatmap({4: torch.rand(1, 2, 4, 4)}, 2, 8)
    with pytest.raises(ValueError, match="at least one map"):
        anomaly_heatmap({}, 1, 8)
