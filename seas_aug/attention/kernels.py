# SPDX-License-Identifier: Apache-2.0
"""Which kernels attention is trained with on a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager


def sound_kernels() -> AbstractContextManager[None]:
    """Return a context in which attention runs on kernels whose gradients are finite: all of torch's but cuDNN's.

    In bfloat16 on an H100 or H200, cuDNN's backward pass returns NaN for some shapes, such as 64 positions (8 x 8
    latents, the innermost layers' of the embedded base and of Stable Diffusion), and torch 2.11 and later choose it by
    default: https://github.com/pytorch/pytorch/issues/196678 (there with an attention mask, which nothing here has).
    Fine-tuning on screws on an H200, with torch 2.11, had finite losses and then NaN in the gradients from those layers
    on, after 211 updates; not so in float32. That cuDNN was the cause there is likely, and not shown.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])
