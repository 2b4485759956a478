# SPDX-License-Identifier: Apache-2.0
"""SeaSPipeline: images, masks and references from a fine-tuned run."""
