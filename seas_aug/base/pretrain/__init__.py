# SPDX-License-Identifier: Apache-2.0
"""Pretraining of the embedded base on rendered images only."""
