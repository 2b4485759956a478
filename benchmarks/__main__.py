# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks``: the same as ``seas-aug benchmark``; grids lie in ``benchmarks/grids``."""

import sys

from seas_aug.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
