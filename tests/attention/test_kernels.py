# SPDX-License-Identifier: Apache-2.0
import torch
from torch.backends import cuda
from torch.nn.functional import scaled_dot_product_attention

from seas_aug.attention.kernels import sound_kernels


def test_all_kernels_but_cudnns_and_only_for_a_while() -> None:
    def enabled() -> list[bool]:
        return [
            cuda.flash_sdp_enabled(),
            cuda.mem_efficient_sdp_enabled(),
            cuda.math_sdp_enabled(),
            cuda.cudnn_sdp_enabled(),
        ]

    before, query = enabled(), torch.randn(1, 2, 64, 8, generator=torch.Generator().manual_seed(0))
    expected = scaled_dot_product_attention(query, query, query)
    with sound_kernels():
        assert enabled() == [True, True, True, False]
        assert torch.allclose(scaled_dot_product_attention(query, query, query), expected, atol=1e-6)
    assert enabled() == before
