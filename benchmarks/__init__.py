# SPDX-License-Identifier: Apache-2.0
"""Scripts that print every published figure. Run them from the project folder: ``python -m benchmarks.NAME``."""
