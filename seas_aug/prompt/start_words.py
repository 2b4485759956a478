# SPDX-License-Identifier: Apache-2.0
"""Which words of a base the tokens of an anomaly type start from: those in its name that the base knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHORTEST = 4
"""Letters of an ending that is taken for a word: ``hole`` of ``blowhole``, but not ``ole``."""


def known_words(tokenizer: PreTrainedTokenizerBase, anomaly_type: str) -> tuple[str, ...]:
    """Return the words of a type's name that are one token, or the longest ending of a word that is.

    Args:
        tokenizer: of the base.
        anomaly_type: such as ``scratch_neck`` or ``blowhole``.

    Returns:
        In the order of the name; none where the base knows nothing of it.
    """
    found = []
    for word in re.findall(r"[a-z]{3,}", anomaly_type.lower()):
        shortest = max(_SHORTEST, -(-len(word) // 2))  # any short ending is a token of a large vocabulary
        endings = (word[start:] for start in range(max(1, len(word) - shortest + 1)))
        known = next((ending for ending in endings if _is_one_token(tokenizer, ending)), None)
        if known is not None:
            found.append(known)
    return tuple(found)


def _is_one_token(tokenizer: PreTrainedTokenizerBase, word: str) -> bool:
    return len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1
