# SPDX-License-Identifier: Apache-2.0
"""``python -m seas_aug`` is ``seas-aug``."""

import sys

from seas_aug.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
