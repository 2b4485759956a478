# SPDX-License-Identifier: Apache-2.0
"""Whether a model draws: every measure of drawing, with controls whose answer is known."""
