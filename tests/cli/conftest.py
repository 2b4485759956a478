# SPDX-License-Identifier: Apache-2.0
from tests.anomalib_plugin.fixtures import category, generated, own_cache

__all__ = ["category", "generated", "own_cache"]
