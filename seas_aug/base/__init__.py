# SPDX-License-Identifier: Apache-2.0
"""The embedded base: loading, renderer, pretraining and weights."""
