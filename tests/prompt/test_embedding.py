# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from seas_aug.base.load import load_base
from seas_aug.errors import SeasError
from seas_aug.prompt import (
    ExtendedTokenEmbedding,
    UAPrompt,
    add_prompt_tokens,
    encode_prompts,
    merge_prompt_tokens,
    pool_prompts,
)
from seas_aug.prompt.start_words import known_words
from tests.tiny_models import TEXT_WIDTH, tiny_text_encoder, tiny_tokenizer

PROMPT = UAPrompt(("crack", "hole"), 2, 3)


@pytest.fixture
def models():
    tokenizer = tiny_tokenizer()
    return tokenizer, tiny_text_encoder(tokenizer)


def test_every_new_word_becomes_one_token(models):
    tokenizer, encoder = models
    first_new = len(tokenizer)
    add_prompt_tokens(tokenizer, encoder, PROMPT)
    for index, word in enumerate(PROMPT.new_words):
        assert tokenizer(word, add_special_tokens=False)["input_ids"] == [first_new + index]


def test_new_rows_start_from_the_mean_of_the_word_pieces(models):
    tokenizer, encoder = models
    table = encoder.get_input_embeddings().weight.detach().clone()
    extended = add_prompt_tokens(tokenizer, encoder, PROMPT, "object", "scar")
    for row, word in zip(extended.new_rows, PROMPT.new_words, strict=True):
        pieces = tokenizer("object" if "ob" in word else "scar", add_special_tokens=False)["input_ids"]
        assert len(pieces) > 1
        torch.testing.assert_close(row, sum(table[piece] for piece in pieces) / len(pieces))


def test_types_start_from_their_names_and_apart():
    base = load_base("embedded")
    prompt = UAPrompt(("blowhole", "crack_neck", "uneven", "break"), 1, 2)
    table = base.text_encoder.get_input_embeddings().weight.detach().clone()

    def row(word):
        return table[base.tokenizer(word, add_special_tokens=False)["input_ids"]].mean(0)

    extended = add_prompt_tokens(base.tokenizer, base.text_encoder, prompt, by_name=True)
    starts = {name: extended.new_rows[1 + 2 * k].detach() for k, name in enumerate(prompt.anomaly_types)}
    for name, word in (("blowhole", "hole"), ("crack_neck", "crack"), ("uneven", "defect"), ("break", "defect")):
        away = {other: float((starts[name] - row(other)).norm()) for other in ("hole", "crack", "defect", "stain")}
        assert min(away, key=away.get) == word, name
    assert not torch.equal(starts["uneven"], starts["break"])
    assert torch.equal(extended.new_rows[1], extended.new_rows[2])  # tokens of one type part by their positions


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("blowhole", ("hole",)),
        ("Scratch-neck 2", ("scratch",)),
        ("colour_change", ("colour", "change")),
        ("short", ()),
        ("b", ()),
    ],
)
def test_words_of_a_name_that_the_base_knows(name, words):
    assert known_words(load_base("embedded").tokenizer, name) == words


def test_gradients_reach_only_the_new_rows_that_are_used(models):
    tokenizer, encoder = models
    extended = add_prompt_tokens(tokenizer, encoder, PROMPT)
    states, *_ = encode_prompts(tokenizer, encoder, [PROMPT.anomaly_prompt("crack")])
    states.square().sum().backward()
    assert extended.original.weight.grad is None
    used = [word in PROMPT.supervised_words("crack") for word in PROMPT.new_words]
    assert (extended.new_rows.grad.abs().sum(dim=1) > 0).tolist() == used


def test_the_original_words_are_encoded_as_before(models):
    tokenizer, encoder = models
    with torch.no_grad():
        before, *_ = encode_prompts(tokenizer, encoder, ["a hole", ""])
        add_prompt_tokens(tokenizer, encoder, PROMPT)
        after, *_ = encode_prompts(tokenizer, encoder, ["a hole", ""])
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_half_precision_rows_keep_float32_new_rows():
    extended = ExtendedTokenEmbedding(torch.nn.Embedding(5, 4).to(torch.bfloat16), torch.randn(2, 4))
    assert extended.new_rows.dtype == torch.float32
    assert extended(torch.tensor([[0, 6]])).dtype == torch.bfloat16
    assert extended.merged().weight.dtype == torch.bfloat16


def test_merged_model_survives_saving(models, tmp_path):
    tokenizer, encoder = models
    extended = add_prompt_tokens(tokenizer, encoder, PROMPT)
    torch.nn.init.normal_(extended.new_rows)
    prompts = [PROMPT.anomaly_prompt("hole", "crack"), PROMPT.normal_prompt(), ""]
    with torch.no_grad():
        expected, _, expected_ids = encode_prompts(tokenizer, encoder, prompts)
        merge_prompt_tokens(encoder)
        encoder.save_pretrained(tmp_path / "text_encoder")
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        loaded = CLIPTextModel.from_pretrained(tmp_path / "text_encoder").eval()
        states, _, ids = encode_prompts(CLIPTokenizer.from_pretrained(tmp_path / "tokenizer"), loaded, prompts)
    assert torch.equal(ids, expected_ids)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("tokenizer_length", "encoder_length"), [(20, 77), (77, 20)])
def test_prompts_are_padded_to_the_shorter_limit(tokenizer_length, encoder_length):
    tokenizer = tiny_tokenizer(tokenizer_length)
    encoder = tiny_text_encoder(tokenizer, max_length=encoder_length)
    states, _, ids = encode_prompts(tokenizer, encoder, ["", "a b"])
    assert states.shape == (2, 20, TEXT_WIDTH)
    assert ids.shape == (2, 20)
    with pytest.raises(SeasError, match="has 24 tokens but the text encoder reads 20"):
        encode_prompts(tokenizer, encoder, ["a", "x" * 22])


def test_mistakes_are_named(models):
    tokenizer, encoder = models
    with pytest.raises(SeasError, match="no new tokens to merge"):
        merge_prompt_tokens(encoder)
    with pytest.raises(SeasError, match="start word ' ' gives no token"):
        add_prompt_tokens(tokenizer, encoder, PROMPT, normal_word=" ")
    add_prompt_tokens(tokenizer, encoder, PROMPT)
    with pytest.raises(SeasError, match="already has new tokens"):
        add_prompt_tokens(tokenizer, encoder, PROMPT)
    merge_prompt_tokens(encoder)
    with pytest.raises(SeasError, match="already has the token <ob1>"):
        add_prompt_tokens(tokenizer, encoder, PROMPT)
    with pytest.raises(SeasError, match="load both from the same base"):
        add_prompt_tokens(tiny_tokenizer(), encoder, PROMPT)


def test_pooled_prompts_are_the_mean_of_their_own_tokens():
    """Padding repeats the end token, as CLIP's does; only the first one counts."""
    hidden = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 5, 9, 9, 9], [1, 9, 9, 9, 9], [1, 5, 6, 7, 9]])
    expected = torch.stack([hidden[0, :3].mean(0), hidden[1, :2].mean(0), hidden[2].mean(0)])
    torch.testing.assert_close(pool_prompts(hidden, ids, 9), expected)
