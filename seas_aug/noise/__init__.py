# SPDX-License-Identifier: Apache-2.0
"""The noisy latent that sampling starts from."""

from seas_aug.noise.start import official_start_latent, start_latent, start_timestep_index

__all__ = ["official_start_latent", "start_latent", "start_timestep_index"]
