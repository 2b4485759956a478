# SPDX-License-Identifier: Apache-2.0
"""Unbalanced Abnormal (UA) prompt: its words, and the new token embeddings behind them."""

from seas_aug.prompt.embedding import (
    ExtendedTokenEmbedding,
    PromptEmbeddings,
    add_prompt_tokens,
    encode_prompts,
    merge_prompt_tokens,
    pool_prompts,
)
from seas_aug.prompt.ua_prompt import UAPrompt, token_positions

__all__ = [
    "ExtendedTokenEmbedding",
    "PromptEmbeddings",
    "UAPrompt",
    "add_prompt_tokens",
    "encode_prompts",
    "merge_prompt_tokens",
    "pool_prompts",
    "token_positions",
]
