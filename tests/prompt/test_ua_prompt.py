# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seas_aug.artifact.paths import is_folder_name
from seas_aug.errors import SeasError
from seas_aug.prompt import UAPrompt, token_positions
from tests.tiny_models import tiny_tokenizer


def test_words_follow_the_paper():
    prompt = UAPrompt(("hole", "crack"))
    assert prompt.anomaly_types == ("crack", "hole")
    assert prompt.normal_prompt() == "a <ob1>"
    assert prompt.anomaly_prompt("crack") == "a <ob1> with <sks1> <sks2> <sks3> <sks4>"
    assert prompt.token_table["hole"] == ("<sks5>", "<sks6>", "<sks7>", "<sks8>")
    assert len(prompt.new_words) == 1 + 2 * 4
    assert prompt.anomaly_prompt("hole", "crack").endswith(
        "with <sks5> <sks6> <sks7> <sks8> <sks1> <sks2> <sks3> <sks4>"
    )
    assert prompt.supervised_words("hole") == ("<ob1>", "<sks5>", "<sks6>", "<sks7>", "<sks8>")


@settings(deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=8).filter(is_folder_name), min_size=1, max_size=5, unique=True),
    st.integers(1, 3),
    st.integers(1, 8),
)
def test_every_word_belongs_to_one_type_and_survives_json(types, normal, anomaly):
    prompt = UAPrompt(tuple(types), normal, anomaly)
    assert UAPrompt.from_dict(json.loads(json.dumps(prompt.to_dict()))) == prompt
    assert UAPrompt(tuple(reversed(types)), normal, anomaly) == prompt
    assert len(set(prompt.new_words)) == len(prompt.new_words) == normal + anomaly * len(types)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UAPrompt(()), "No anomaly type"),
        (lambda: UAPrompt(("a", "a")), "twice"),
        (lambda: UAPrompt(("a",), 0, 1), "at least 1"),
        (lambda: UAPrompt(("a", "../../x")), "'../../x' cannot be the name of a folder"),
        (lambda: UAPrompt(("a", "good")), "'good' cannot be the name of a folder of defects"),
        (lambda: UAPrompt(("a", "b")).anomaly_prompt("c"), "'c' is not known; the known types are a, b"),
        (lambda: UAPrompt(("a", "b")).anomaly_prompt(), "known types are a, b"),
        (lambda: UAPrompt(("a", "b")).anomaly_prompt("a", "a"), "twice"),
        (lambda: UAPrompt.from_dict({"anomaly_types": ["a"]}), "lacks normal_tokens, anomaly_tokens"),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(SeasError, match=message):
        build()


TOKENIZER = tiny_tokenizer()
TOKENIZER.add_tokens([f"<ob{i}>" for i in range(1, 4)] + [f"<sks{i}>" for i in range(1, 33)])


def ids_of(prompts):
    return torch.tensor(TOKENIZER(prompts, padding="max_length", max_length=40)["input_ids"])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 8), st.lists(st.sampled_from("wxyz"), min_size=1, max_size=3))
def test_positions_of_1_to_8_anomaly_and_1_to_3_normal_tokens(normal, anomaly, types):
    prompt = UAPrompt(("w", "x", "y", "z"), normal, anomaly)
    ids = ids_of([prompt.anomaly_prompt(name) for name in types])
    positions = token_positions(TOKENIZER, ids, [prompt.supervised_words(name) for name in types])
    # BOS, "a", the normal tokens, "with" (four byte tokens here), the anomaly tokens
    expected = list(range(2, 2 + normal)) + list(range(6 + normal, 6 + normal + anomaly))
    assert positions.dtype == torch.long
    assert positions.tolist() == [expected] * len(types)


def test_recombined_types_have_positions_for_all_tokens():
    prompt = UAPrompt(("w", "x"), 1, 4)
    positions = token_positions(
        TOKENIZER, ids_of([prompt.anomaly_prompt("x", "w")]), [prompt.supervised_words("x", "w")]
    )
    assert positions.tolist() == [[2, *range(7, 15)]]


def test_position_errors():
    prompt = UAPrompt(("w", "x"))
    ids = ids_of([prompt.anomaly_prompt("w")])
    with pytest.raises(SeasError, match="<sks4> is not among the 10 tokens"):
        token_positions(TOKENIZER, ids[:, :10], [prompt.supervised_words("w")])
    with pytest.raises(SeasError, match="does not know the word <sks99>"):
        token_positions(TOKENIZER, ids, [["<sks99>"]])
    with pytest.raises(ValueError, match="same number of words"):
        token_positions(TOKENIZER, ids.repeat(2, 1), [["<sks1>"], ["<sks1>", "<sks2>"]])
    with pytest.raises(ValueError, match="2 rows of words"):
        token_positions(TOKENIZER, ids, [["<sks1>"], ["<sks1>"]])
