# SPDX-License-Identifier: Apache-2.0
"""The command line ``seas-aug``. Importing it is quick: each command loads what it needs."""
