# SPDX-License-Identifier: Apache-2.0
"""Where settings depart from the published method, and why."""

from seas_aug.departures.in_code import Departure
from seas_aug.departures.listing import as_sentence, as_table, departures, flat, page

__all__ = ["Departure", "as_sentence", "as_table", "departures", "flat", "page"]
