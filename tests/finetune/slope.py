# SPDX-License-Identifier: Apache-2.0
"""The smallest training whose every step can be told by hand."""

from typing import Any

import lightning
import torch
from torch import Tensor, nn

RATE = 0.1


class Slope(lightning.LightningModule):
    """One weight, 1 at first, whose gradient is what the data says; keeps it and the attention kernels of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.seen: list[float] = []
        self.cudnn: list[bool] = []

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor:
        self.seen.append(float(self.weight.detach()))
        self.cudnn.append(torch.backends.cuda.cudnn_sdp_enabled())
        return self.weight * batch.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=RATE)
