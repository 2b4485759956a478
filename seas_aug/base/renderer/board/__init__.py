# SPDX-License-Identifier: Apache-2.0
"""A rendered product at full resolution: a power board with small defects, some of which lie only on certain places.

The embedded base never sees it: its own pictures come from :mod:`seas_aug.base.renderer.scene`.
"""

from seas_aug.base.renderer.board.defects import BOARD_DEFECTS
from seas_aug.base.renderer.board.folder import render_board, render_numbered
from seas_aug.base.renderer.board.photo import BoardSettings, Photo, render_photo

__all__ = ["BOARD_DEFECTS", "BoardSettings", "Photo", "render_board", "render_numbered", "render_photo"]
