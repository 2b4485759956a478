# SPDX-License-Identifier: Apache-2.0
"""The real normal images that generated ones start from, kept in the model folder so that it works anywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seas_aug.errors import SeasError

if TYPE_CHECKING:
    from torch import Tensor

FILE_NAME = "references.safetensors"


@dataclass(frozen=True)
class References:
    """Normal images at the size of the model.

    Attributes:
        images: uint8 ``[N, 3, H, W]``.
        names: where each came from.
    """

    images: Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def save(self, folder: Path) -> None:
        """Write the images as safetensors, with their names as metadata."""
        from safetensors.torch import save_file

        save_file({"images": self.images.contiguous()}, folder / FILE_NAME, {"names": json.dumps(self.names)})

    @classmethod
    def load(cls, folder: Path) -> References | None:
        """Read the images of a model folder; None where it has none.

        Raises:
            SeasError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / FILE_NAME
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                return cls(file.get_tensor("images"), tuple(json.loads(file.metadata()["names"])))
        except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
            message = f"{path} is damaged ({error}); fine-tune again or copy the run folder anew."
            raise SeasError(message) from error
