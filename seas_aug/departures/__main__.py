# SPDX-License-Identifier: Apache-2.0
"""``python -m seas_aug.departures > docs/paper.md``."""

from seas_aug.departures.listing import page

print(page(), end="")
