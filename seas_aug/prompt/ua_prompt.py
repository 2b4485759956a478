# SPDX-License-Identifier: Apache-2.0
"""The Unbalanced Abnormal (UA) prompt (SeaS section 3.2): few normal tokens, more tokens for each anomaly type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from seas_aug.artifact.paths import NORMAL_FOLDER, is_folder_name
from seas_aug.errors import SeasError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class UAPrompt:
    """Which new words stand for the product and for each of its anomaly types.

    The types are sorted once, here; the table goes into the checkpoint, so that a word never changes its type (the
    authors' VisA script orders them differently from their training; SeaS specification, section 5).

    Args:
        anomaly_types: names of the anomaly types; kept sorted.
        normal_tokens: tokens of the product (paper: 1), at least 1.
        anomaly_tokens: tokens of each anomaly type (paper: 4), at least 1.

    Raises:
        SeasError: no type, a type given twice, one that cannot be a folder of defects (``..``, ``a/b``, ``good``), or a
            token number below 1.
    """

    anomaly_types: tuple[str, ...]
    normal_tokens: int = 1
    anomaly_tokens: int = 4

    def __post_init__(self) -> None:
        types = tuple(sorted(self.anomaly_types))
        if not types:
            raise SeasError("No anomaly type was given; a prompt needs at least 1, so add a folder test/<type>.")
        if len(set(types)) != len(types):
            raise SeasError(f"The anomaly types {', '.join(types)} name one of them twice; give each once.")
        if unusable := [name for name in types if not is_folder_name(name) or name == NORMAL_FOLDER]:
            message = f"The anomaly type {unusable[0]!r} cannot be the name of a folder of defects; rename it."
            raise SeasError(message)
        if self.normal_tokens < 1 or self.anomaly_tokens < 1:
            raise SeasError(
                f"The prompt has {self.normal_tokens} normal and {self.anomaly_tokens} anomaly tokens; "
                "give at least 1 of each."
            )
        object.__setattr__(self, "anomaly_types", types)

    @property
    def normal_words(self) -> tuple[str, ...]:
        """Words of the product: ``("<ob1>", ...)``."""
        return tuple(f"<ob{number}>" for number in range(1, self.normal_tokens + 1))

    @property
    def token_table(self) -> dict[str, tuple[str, ...]]:
        """Words of each type: type k (0-based, sorted) of N tokens has ``<sks{kN+1}>`` to ``<sks{kN+N}>``."""
        count = self.anomaly_tokens
        return {
            name: tuple(f"<sks{number}>" for number in range(k * count + 1, (k + 1) * count + 1))
            for k, name in enumerate(self.anomaly_types)
        }

    @property
    def new_words(self) -> tuple[str, ...]:
        """All new words: those of the product, then those of the types in order."""
        return self.normal_words + tuple(word for words in self.token_table.values() for word in words)

    def anomaly_words(self, *types: str) -> tuple[str, ...]:
        """Return the words of one or more types, one type after the other.

        Args:
            *types: names of the types; several of them recombine into an unseen anomaly.

        Raises:
            SeasError: no type, an unknown one, or one given twice.
        """
        known = f"the known types are {', '.join(self.anomaly_types)}"
        table = self.token_table
        if not types:
            raise SeasError(f"No anomaly type was given; {known}.")
        if len(set(types)) != len(types):
            raise SeasError(f"The anomaly types {', '.join(types)} name one of them twice; give each once.")
        for name in types:
            if name not in table:
                raise SeasError(f"The anomaly type {name!r} is not known; {known}.")
        return tuple(word for name in types for word in table[name])

    def supervised_words(self, *types: str) -> tuple[str, ...]:
        """Return normal words followed by the words of the types: the token order that ``da_loss`` expects."""
        return self.normal_words + self.anomaly_words(*types)

    def normal_prompt(self) -> str:
        """Return the prompt of a normal image, ``a <ob1>``."""
        return "a " + " ".join(self.normal_words)

    def anomaly_prompt(self, *types: str) -> str:
        """Return the prompt of an anomaly, ``a <ob1> with <sks1> <sks2> <sks3> <sks4>``.

        Args:
            *types: names of the types; the tokens of several are concatenated (recombined unseen anomalies).

        Raises:
            SeasError: no type, an unknown one, or one given twice.
        """
        return f"{self.normal_prompt()} with {' '.join(self.anomaly_words(*types))}"

    def to_dict(self) -> dict[str, Any]:
        """Return the prompt as plain values, ready for JSON."""
        return {
            "anomaly_types": list(self.anomaly_types),
            "normal_tokens": self.normal_tokens,
            "anomaly_tokens": self.anomaly_tokens,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> UAPrompt:
        """Return the prompt that ``to_dict`` wrote.

        Raises:
            SeasError: a field is missing.
        """
        missing = [key for key in ("anomaly_types", "normal_tokens", "anomaly_tokens") if key not in values]
        if missing:
            raise SeasError(f"The saved prompt lacks {', '.join(missing)}; save the model again with this version.")
        return cls(tuple(values["anomaly_types"]), int(values["normal_tokens"]), int(values["anomaly_tokens"]))


def token_positions(
    tokenizer: PreTrainedTokenizerBase, input_ids: torch.Tensor, words: Sequence[Sequence[str]]
) -> torch.Tensor:
    """Find where the words of each row stand in its tokenised prompt.

    Args:
        tokenizer: knows each word as one token.
        input_ids: token ids, int64 [B, L].
        words: for each row its words; all rows have equally many.

    Returns:
        Positions in 0..L-1, int64 [B, T], in the order of ``words`` and on the device of ``input_ids``. Of a word that
        stands there more than once, the first one counts.

    Raises:
        SeasError: a word is unknown to the tokenizer or not in its row (a truncated prompt).
        ValueError: the number of rows differs, or rows have different numbers of words.
    """
    if len(words) != input_ids.shape[0]:
        raise ValueError(f"{len(words)} rows of words for {input_ids.shape[0]} rows of token ids.")
    if len({len(row) for row in words}) > 1:
        raise ValueError(f"All rows need the same number of words, but they have {[len(row) for row in words]}.")
    vocabulary = {word: tokenizer.convert_tokens_to_ids(word) for word in {word for row in words for word in row}}
    unknown = (None, tokenizer.unk_token_id)
    positions: list[list[int]] = []
    for ids, row in zip(input_ids.tolist(), words, strict=True):
        found = []
        for word in row:
            if vocabulary[word] in unknown:
                raise SeasError(f"The tokenizer does not know the word {word}; load the fine-tuned model's tokenizer.")
            if vocabulary[word] not in ids:
                raise SeasError(
                    f"The word {word} is not among the {len(ids)} tokens of its prompt, which was probably cut off; "
                    "use fewer tokens per anomaly type or fewer types."
                )
            found.append(ids.index(vocabulary[word]))
        positions.append(found)
    return torch.tensor(positions, dtype=torch.long, device=input_ids.device)
