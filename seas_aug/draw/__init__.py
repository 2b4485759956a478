# SPDX-License-Identifier: Apache-2.0
"""Drawing a pair: shape -> place -> sample -> paste back -> gate, one file each, and SeaSPipeline on top."""
