# SPDX-License-Identifier: Apache-2.0
"""A diffusers pipeline whose masks stay in float32, and whose parts lie on one device."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DiffusionPipeline

from seas_aug.errors import SeasError

_DiffusionPipeline: Any = DiffusionPipeline  # for the type checker, whom diffusers' own hints lead astray


def with_exact_masks(torch_dtype: Any) -> Any:
    """Return a ``torch_dtype`` of diffusers that leaves the mask predictor in float32.

    Args:
        torch_dtype: a dtype, a table of dtypes by part, ``auto`` (that of the files, which are float32) or None.
    """
    if torch_dtype == "auto":
        return None
    table = torch_dtype if isinstance(torch_dtype, dict) else {"default": torch_dtype}
    return None if torch_dtype is None else {**table, "mask_predictor": torch.float32}


def check_one_device(device_map: Any) -> None:
    """Refuse to spread the parts over devices.

    Raises:
        SeasError: diffusers' ``device_map`` is given.
    """
    if device_map is not None:
        message = f"device_map is {device_map!r}, but all parts of SeaS lie on one device; leave it out "
        raise SeasError(message + "and move the pipeline with .to('cuda').")


class OneDevicePipeline(_DiffusionPipeline):
    """What :class:`~seas_aug.draw.pipeline.SeaSPipeline` changes of diffusers' handling of devices and precision."""

    model_cpu_offload_seq = None

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move or cast all parts; the mask predictor stays in float32, as half a precision moves masks' edges.

        Args:
            *args: device, dtype, as for diffusers.
            **kwargs: likewise.
        """
        predictor = self.mask_predictor
        exact = {} if predictor is None else {name: part.clone() for name, part in predictor.state_dict().items()}
        super().to(*args, **kwargs)
        if predictor is not None:
            predictor.float().load_state_dict(exact)
        return self

    def enable_model_cpu_offload(self, *_: Any, **__: Any) -> None:
        """Refuse.

        Raises:
            SeasError: always.
        """
        message = (
            "SeaS reads masks from inside U-Net and autoencoder, so that all parts have to lie on one device and none "
            "can be offloaded; load the model with torch_dtype=torch.bfloat16 and move it there with .to('cuda')."
        )
        raise SeasError(message)

    def enable_group_offload(self, *_: Any, **__: Any) -> None:
        """Refuse, as :meth:`enable_model_cpu_offload`.

        Raises:
            SeasError: always.
        """
        self.enable_model_cpu_offload()

    def enable_sequential_cpu_offload(self, *_: Any, **__: Any) -> None:
        """Refuse, as :meth:`enable_model_cpu_offload`.

        Raises:
            SeasError: always.
        """
        self.enable_model_cpu_offload()
