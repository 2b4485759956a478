# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.attention import capture_attention, spatial_attention
from seas_aug.errors import SeasError
from tests.tiny_models import TEXT_WIDTH, tiny_unet

UNET = tiny_unet(layers=2).requires_grad_(True)
POSITIONS = torch.tensor([[1, 3, 4], [2, 5, 0]])
ROWS = slice(0, 2)


def inputs(side=8, batch=4):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(batch, 4, side, side, generator=generator)
    return latents, torch.tensor(10), torch.randn(batch, 6, TEXT_WIDTH, generator=generator)


def run(unet=UNET, **kwargs):
    latents, timestep, text = inputs(**kwargs)
    return unet(latents, timestep, text).sample


def spatial_attention_by_loops(query, key, scale):
    batch, heads, pixels, _ = query.shape
    result = torch.zeros(batch, key.shape[2], pixels)
    for b in range(batch):
        for t in range(key.shape[2]):
            for h in range(heads):
                logits = [float(query[b, h, p] @ key[b, h, t]) * scale for p in range(pixels)]
                total = sum(math.exp(logit) for logit in logits)
                result[b, t] += torch.tensor([math.exp(logit) / total for logit in logits]) / heads
    return result


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_spatial_attention_equals_loops(batch, heads, side, tokens, seed):
    torch.manual_seed(seed)
    query, key = torch.randn(batch, heads, side * side, 4), torch.randn(batch, heads, tokens, 4)
    maps = spatial_attention(query, key, 0.5)
    torch.testing.assert_close(maps, spatial_attention_by_loops(query, key, 0.5))
    torch.testing.assert_close(maps.sum(-1), torch.ones(batch, tokens))


def test_captured_map_equals_reference_from_the_layers_own_inputs():
    layer = UNET.down_blocks[1].attentions[1].transformer_blocks[0].attn2
    seen = {}
    handle = layer.register_forward_pre_hook(
        lambda _, args, kwargs: seen.update(hidden=args[0], text=kwargs["encoder_hidden_states"]), with_kwargs=True
    )
    with torch.no_grad(), capture_attention(UNET, POSITIONS, ROWS, [4]) as store:
        run()
    handle.remove()
    tokens = torch.stack([seen["text"][row, POSITIONS[row]] for row in range(2)])
    with torch.no_grad():
        query = layer.to_q(seen["hidden"][:2]).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        key = layer.to_k(tokens).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    expected = spatial_attention_by_loops(query, key, layer.scale).reshape(2, 3, 4, 4)
    name = "down_blocks.1.attentions.1.transformer_blocks.0.attn2"
    torch.testing.assert_close(store.layers[name].map, expected)
    assert store.layers[name].block == "down_blocks.1"


def test_only_wanted_layers_are_captured():
    with torch.no_grad():
        with capture_attention(UNET, POSITIONS, ROWS, (8, 4)) as down:
            run()
        with capture_attention(UNET, POSITIONS, ROWS, (4,), include_up_blocks=True) as both:
            run()
    assert {side: len(maps) for side, maps in down.maps.items()} == {8: 2, 4: 2}
    assert all(name.startswith("down_blocks") for name in down.layers)
    assert {layer.block for layer in both.layers.values()} == {"down_blocks.1", "up_blocks.1"}
    assert [tuple(m.shape) for m in both.maps[4]] == [(2, 3, 4, 4)] * 5
    assert set(both.maps) == {4}


def test_output_is_the_same_and_processors_come_back():
    before = dict(UNET.attn_processors)
    with torch.no_grad():
        plain = run()
        with capture_attention(UNET, POSITIONS, ROWS, [8, 4], include_up_blocks=True):
            captured = run()
    torch.testing.assert_close(captured, plain, rtol=0, atol=1e-5)
    assert UNET.attn_processors == before


def test_processors_come_back_after_an_exception():
    before = dict(UNET.attn_processors)
    with pytest.raises(RuntimeError, match="stop"), capture_attention(UNET, POSITIONS, ROWS, [8]):
        assert UNET.attn_processors != before
        raise RuntimeError("stop")
    assert UNET.attn_processors == before


def test_nothing_is_captured_outside_the_context():
    with torch.no_grad():
        with capture_attention(UNET, POSITIONS, ROWS, [8]) as store:
            run()
        first = store.maps[8][0]
        run(batch=2)
    assert store.maps[8][0] is first


def test_a_second_pass_replaces_the_first():
    with torch.no_grad(), capture_attention(UNET, POSITIONS, ROWS, [8]) as store:
        run()
        run()
    assert len(store.maps[8]) == 2


def test_gradients_reach_queries_keys_and_text():
    UNET.zero_grad()
    latents, timestep, text = inputs()
    text.requires_grad_(True)
    with capture_attention(UNET, POSITIONS, ROWS, [4]) as store:
        UNET(latents, timestep, text)
    sum(layer[..., 0, 0].sum() for layer in store.maps[4]).backward()
    layer = UNET.down_blocks[1].attentions[0].transformer_blocks[0].attn2
    assert layer.to_q.weight.grad.abs().sum() > 0
    assert layer.to_k.weight.grad.abs().sum() > 0
    assert text.grad[0, 1].abs().sum() > 0
    assert text.grad[2:].abs().sum() == 0
    UNET.zero_grad()


def test_maps_are_float32_under_autocast():
    with (
        torch.no_grad(),
        torch.autocast("cpu", dtype=torch.bfloat16),
        capture_attention(UNET, POSITIONS, ROWS, [8]) as store,
    ):
        run()
    assert store.maps[8][0].dtype == torch.float32
    torch.testing.assert_close(store.maps[8][0].sum((2, 3)), torch.ones(2, 3))


def test_mistakes_are_named():
    with torch.no_grad():
        with (
            pytest.raises(SeasError, match=r"side 5, 32; set attention.resolutions to some of 4, 8\."),
            capture_attention(UNET, POSITIONS, ROWS, [32, 8, 5]),
        ):
            run()
        with pytest.raises(SeasError, match="is empty"), capture_attention(UNET, POSITIONS, ROWS, []):
            pass
        with pytest.raises(SeasError, match="no square"), capture_attention(UNET, POSITIONS, ROWS, [8]):
            UNET(torch.randn(2, 4, 8, 4), 1, torch.randn(2, 6, TEXT_WIDTH))
        with pytest.raises(ValueError, match="rows select 3"), capture_attention(UNET, POSITIONS, slice(1, 4), [8]):
            run()
    unet = tiny_unet()
    unet.enable_gradient_checkpointing()
    with pytest.raises(SeasError, match="Gradient checkpointing"), capture_attention(unet, POSITIONS, ROWS, [8]):
        pass
