# SPDX-License-Identifier: Apache-2.0
"""Can it be seen that a place was redrawn at all? Then a detector learns "redrawn" in place of "defect".

A small segmentation network is trained on normal fills *labelled as defects*, and on the same windows untouched, where
nothing is marked; it is tested on both kinds of other images, at the same places. It can only succeed by what redrawing
leaves behind. Compared with other places of the fills, it learnt where defects lie, on the part and not beside it: on
rendered parts that nobody had redrawn it scored 0.62, and 0.72 with only a rim around the holes to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from seas_aug.evaluate.group_bootstrap import bootstrap
from seas_aug.evaluate.group_folds import auroc
from seas_aug.evaluate.measured import Measured, not_measured
from seas_aug.evaluate.window_set import Images

_UPDATES, _BATCH, _RATE = 400, 8, 3e-3
_CHANNELS = 16
_CROP = 64  # pixels of a window that are trained on at a time
_SAMPLED = 200  # pixels of each class and window that the AUROC is taken over


class _SmallSegmentation(nn.Module):
    """Two levels, reaching about 20 pixels: enough for texture, too little to learn where holes tend to lie."""

    def __init__(self) -> None:
        super().__init__()
        c = _CHANNELS
        self.fine = nn.Sequential(_block(3, c), _block(c, c))
        self.coarse = nn.Sequential(_block(c, 2 * c), _block(2 * c, 2 * c, 2))
        self.head = nn.Sequential(_block(3 * c, c), nn.Conv2d(c, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[B, 1, H, W]`` of images ``[B, 3, H, W]``."""
        fine = self.fine(images)
        coarse = functional.interpolate(self.coarse(functional.avg_pool2d(fine, 2)), fine.shape[-2:], mode="bilinear")
        return self.head(torch.cat([fine, coarse], 1))


def _block(inputs: int, outputs: int, dilation: int = 1) -> nn.Module:
    reach = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, padding_mode="reflect", bias=False)
    return nn.Sequential(reach, nn.GroupNorm(4, outputs), nn.ReLU())


def null_cue(
    train: tuple[Images, Images],
    train_holes: NDArray[np.uint8],
    test: tuple[Images, Images],
    test_holes: NDArray[np.uint8],
    test_groups: Sequence[str],
    seed: int = 0,
    updates: int = _UPDATES,
) -> Measured:
    """Return the pixel AUROC with which fills of unseen images are told from the same places untouched.

    Args:
        train: normal fills, and the same windows untouched (through the autoencoder), uint8 ``[N, S, S, 3]`` each.
        train_holes: where they were filled, uint8 ``[N, S, S]`` of 0 and 1; the labels of the fills.
        test: likewise, of other images, ``[M, S, S, 3]`` each.
        test_holes: uint8 ``[M, S, S]``.
        test_groups: group of each of these.
        seed: of the network and its batches.
        updates: of the network.

    Returns:
        ``value`` in [0, 1], 0.5 where redrawing leaves nothing behind.
    """
    if min(len(train_holes), len(test_holes)) < 2:
        return not_measured("fewer than two fills to train or to test on", len(test_holes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = [_as_input(part) for part in train]
        network = _train(images[0], images[1], torch.from_numpy(train_holes).float()[:, None], updates)
    rng = np.random.default_rng(seed)
    sides = []
    with torch.no_grad():
        for part in test:
            logits = torch.cat([network(batch) for batch in _as_input(part).split(_BATCH)])[:, 0].numpy()
            sides.append([_some(logit[hole > 0], rng) for logit, hole in zip(logits, test_holes, strict=True)])

    def figure(rows: NDArray[np.int64]) -> float:
        filled, untouched = (np.concatenate([side[row] for row in rows]) for side in sides)
        return auroc(filled, untouched)

    return Measured(*bootstrap([test_groups], figure, draws=100), len(test_holes))


def _train(filled: Tensor, untouched: Tensor, holes: Tensor, updates: int) -> nn.Module:
    network = _SmallSegmentation()
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=updates)
    images = torch.cat([filled, untouched])
    labels = torch.cat([holes, torch.zeros_like(holes)])
    # Holes weigh as much as all that lies outside, on both sides.
    weights = torch.cat([holes, holes]) / holes.mean().clamp_min(1e-4) + 1
    for _ in range(updates):
        first = torch.randint(len(filled), (_BATCH // 2,))
        rows = torch.cat([first, first + len(filled)])  # the same windows, filled and untouched
        top, left = (int(torch.randint(max(1, side - _CROP + 1), ())) for side in images.shape[-2:])
        parts = [part[rows, :, top : top + _CROP, left : left + _CROP] for part in (images, labels, weights)]
        turn, flip = int(torch.randint(4, ())), bool(torch.randint(2, ()))
        parts = [torch.rot90(part, turn, (-2, -1)) for part in parts]
        batch, truth, weight = (part.flip(-1) for part in parts) if flip else parts
        loss = functional.binary_cross_entropy_with_logits(network(batch), truth, weight=weight)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def _as_input(images: Images) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1


def _some(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return values if len(values) <= _SAMPLED else rng.choice(values, _SAMPLED, replace=False)
