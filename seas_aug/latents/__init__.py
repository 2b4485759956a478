# SPDX-License-Identifier: Apache-2.0
"""Images to latents and back, and the noised latent that sampling starts from."""
