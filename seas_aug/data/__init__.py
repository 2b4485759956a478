# SPDX-License-Identifier: Apache-2.0
"""Categories, few-shot splits, loading, joint augmentation and the Lightning data module."""
