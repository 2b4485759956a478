# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning in two stages: the generator, then the masks."""
