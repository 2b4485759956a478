# SPDX-License-Identifier: Apache-2.0
"""New rows in the text encoder's token embedding: the only text weights that are trained.

The authors optimise the whole matrix, so that the ordinary words drift (SeaS specification, section 1); here the
original rows are frozen and gradients reach the new ones only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from seas_aug.errors import SeasError
from seas_aug.prompt.start_words import known_words
from seas_aug.prompt.ua_prompt import UAPrompt

if TYPE_CHECKING:
    from transformers import CLIPTextModel, PreTrainedTokenizerBase

_APART = 0.2
"""Deviation of the noise that types start apart by, as a share of that of the embedding they start from."""


class ExtendedTokenEmbedding(nn.Module):
    """A frozen token embedding with trainable new rows behind it.

    Args:
        original: embedding of V tokens and width D; it is frozen in place.
        new_rows: start values of the K new rows, float [K, D]; kept and trained as float32.
    """

    def __init__(self, original: nn.Embedding, new_rows: torch.Tensor) -> None:
        super().__init__()
        self.original = original.requires_grad_(False)
        self.new_rows = nn.Parameter(new_rows.detach().clone().float())

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Look up both old and new tokens.

        Args:
            input_ids: token ids in 0..V+K-1, int64 [..., L].

        Returns:
            Embeddings [..., L, D] in the dtype of the original rows.
        """
        first_new = self.original.num_embeddings
        old = functional.embedding(input_ids.clamp(max=first_new - 1), self.original.weight)
        new = functional.embedding((input_ids - first_new).clamp(min=0), self.new_rows)
        return torch.where((input_ids >= first_new).unsqueeze(-1), new.to(old.dtype), old)

    def merged(self) -> nn.Embedding:
        """Return a plain, frozen embedding of all V + K rows in the dtype of the original ones."""
        weight = self.original.weight
        rows = torch.cat([weight.detach(), self.new_rows.detach().to(weight.dtype)])
        return nn.Embedding.from_pretrained(rows, freeze=True)


def _word_embedding(tokenizer: PreTrainedTokenizerBase, embedding: nn.Embedding, word: str) -> torch.Tensor:
    """Return the mean embedding [D] of the pieces that a word is split into."""
    pieces = tokenizer(word, add_special_tokens=False)["input_ids"]
    if not pieces:
        raise SeasError(
            f"The start word {word!r} gives no token; set prompt.normal_word or anomaly_word to a real word."
        )
    return embedding.weight.detach()[torch.tensor(pieces, device=embedding.weight.device)].float().mean(dim=0)


def add_prompt_tokens(
    tokenizer: PreTrainedTokenizerBase,
    text_encoder: CLIPTextModel,
    prompt: UAPrompt,
    normal_word: str = "object",
    anomaly_word: str = "defect",
    by_name: bool = False,
) -> ExtendedTokenEmbedding:
    """Teach tokenizer and text encoder, both in place, the new words of a prompt.

    The new rows start from the mean embedding of a real word, as in the paper's code: all tokens of the anomaly types
    start equal and part because they stand at different positions. With ``by_name`` types start apart: from the words
    of their names where the base knows them, and by a little noise.

    Args:
        tokenizer: CLIP tokenizer; gains one token for each new word.
        text_encoder: CLIP text model; its token embedding is replaced.
        prompt: whose ``new_words`` are added, in their order.
        normal_word: word that the normal tokens start from.
        anomaly_word: word that the anomaly tokens start from.
        by_name: the tokens of a type start from the words of its name that the base knows
            (:func:`~seas_aug.prompt.start_words.known_words`) instead, where there are any.

    Returns:
        The embedding that now stands in ``text_encoder``; train its ``new_rows``.

    Raises:
        SeasError: a word is already there, a start word gives no token, or tokenizer and text encoder do not belong
            together.
    """
    embedding = text_encoder.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding):
        raise SeasError("The text encoder already has new tokens; load an unchanged base model to start from.")
    vocabulary = tokenizer.get_vocab()
    known = [word for word in prompt.new_words if word in vocabulary]
    if known:
        raise SeasError(f"The tokenizer already has the token {known[0]}; load a base model that was not fine-tuned.")
    if len(tokenizer) != embedding.num_embeddings:
        raise SeasError(
            f"The tokenizer has {len(tokenizer)} tokens but the text encoder {embedding.num_embeddings}; "
            "load both from the same base model."
        )
    rows = [_word_embedding(tokenizer, embedding, normal_word)] * len(prompt.normal_words)
    default = _word_embedding(tokenizer, embedding, anomaly_word)
    noise = torch.Generator().manual_seed(0)
    for name, tokens in prompt.token_table.items():
        start = default
        if by_name:
            own = [_word_embedding(tokenizer, embedding, word) for word in known_words(tokenizer, name)]
            apart = torch.randn(default.shape, generator=noise).to(default) * default.std() * _APART
            start = apart + (torch.stack(own).mean(dim=0) if own else default)
        rows += [start] * len(tokens)
    tokenizer.add_tokens(list(prompt.new_words))
    extended = ExtendedTokenEmbedding(embedding, torch.stack(rows))
    text_encoder.set_input_embeddings(extended)
    return extended


def merge_prompt_tokens(text_encoder: CLIPTextModel) -> nn.Embedding:
    """Put the plain embedding of old and new rows into the text encoder, so that it saves and loads as usual.

    Args:
        text_encoder: changed in place, its ``config.vocab_size`` included.

    Returns:
        The plain embedding that now stands in ``text_encoder``.

    Raises:
        SeasError: it has no new tokens.
    """
    extended = text_encoder.get_input_embeddings()
    if not isinstance(extended, ExtendedTokenEmbedding):
        raise SeasError("The text encoder has no new tokens to merge; call add_prompt_tokens first.")
    merged = extended.merged()
    text_encoder.set_input_embeddings(merged)
    text_encoder.config.vocab_size = merged.num_embeddings
    return merged


class PromptEmbeddings(NamedTuple):
    """What a U-Net reads of B prompts.

    Attributes:
        context: last hidden states, float ``[B, L, D]``, for cross-attention.
        pooled: one vector per prompt, float ``[B, D]`` (:func:`pool_prompts`).
        input_ids: token ids, int64 ``[B, L]``.
    """

    context: torch.Tensor
    pooled: torch.Tensor
    input_ids: torch.Tensor

    def rows(self, chosen: Any) -> PromptEmbeddings:
        """Return those of some prompts, as ``tensor[chosen]`` chooses them."""
        return PromptEmbeddings(*(part[chosen] for part in self))

    def repeat_each(self, times: int) -> PromptEmbeddings:
        """Return every prompt so many times in a row."""
        return PromptEmbeddings(*(part.repeat_interleave(times, dim=0) for part in self))

    def detach(self) -> PromptEmbeddings:
        """Return the same without a gradient."""
        return PromptEmbeddings(*(part.detach() for part in self))


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, text_encoder: CLIPTextModel, prompts: Sequence[str]
) -> PromptEmbeddings:
    """Tokenise prompts, pad them to the model's length and encode them (with autograd where it is on).

    Args:
        tokenizer: CLIP tokenizer.
        text_encoder: CLIP text model.
        prompts: B texts; the empty one is the unconditional prompt.

    Returns:
        On the text encoder's device. L is the tokenizer's ``model_max_length``, limited by the text encoder's
        positions.

    Raises:
        SeasError: a prompt has more than L tokens.
    """
    length = min(tokenizer.model_max_length, text_encoder.config.max_position_embeddings)
    rows = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=False)["input_ids"]
    for prompt, row in zip(prompts, rows, strict=True):
        if len(row) > length:
            raise SeasError(
                f"The prompt {prompt!r} has {len(row)} tokens but the text encoder reads {length}; "
                "use fewer tokens per anomaly type or fewer types."
            )
    input_ids = torch.tensor(rows, dtype=torch.long, device=text_encoder.device)
    hidden = text_encoder(input_ids).last_hidden_state
    return PromptEmbeddings(hidden, pool_prompts(hidden, input_ids, int(tokenizer.eos_token_id)), input_ids)


def pool_prompts(hidden: torch.Tensor, input_ids: torch.Tensor, end_token: int) -> torch.Tensor:
    """Return one vector per prompt: the mean hidden state of its tokens, the first end token included.

    Args:
        hidden: hidden states of :func:`encode_prompts`, float [B, L, D].
        input_ids: token ids, int64 [B, L].
        end_token: id of the end token; CLIP pads with it too.

    Returns:
        float [B, D].
    """
    ended = (input_ids == end_token).long()
    inside = ((ended.cumsum(dim=1) - ended) == 0).to(hidden.dtype).unsqueeze(-1)
    return (hidden * inside).sum(dim=1) / inside.sum(dim=1)
