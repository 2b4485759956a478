# SPDX-License-Identifier: Apache-2.0
"""Measures what each source of anomalies is worth: a grid of categories, sources, networks and seeds."""
