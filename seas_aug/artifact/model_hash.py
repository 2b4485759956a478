# SPDX-License-Identifier: Apache-2.0
"""A fingerprint of a model folder, to notice when generated images came from another model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from seas_aug.errors import SeasError

_SAMPLE_BYTES = 2**20


def find_model(run: Path) -> Path:
    """Return the model folder of a run.

    Args:
        run: a run folder (``RUN``) or its model folder (``RUN/model``).

    Returns:
        The folder that holds ``model_index.json``.

    Raises:
        SeasError: there is none, for instance because fine-tuning has not finished.
    """
    for folder in (Path(run) / "model", Path(run)):
        if (folder / "model_index.json").is_file():
            return folder
    what = "no finished model in it" if Path(run).is_dir() else "no such folder"
    message = f"{run}: {what}; expected the output folder of seas-aug finetune, give that or run finetune to its end."
    raise SeasError(message)


def model_hash(folder: Path) -> str:
    """Return a hash over the files of a model folder.

    The first and last MiB of each file are read, which tells fine-tuned weights apart and stays quick for gigabytes.
    The version numbers of libraries in JSON files count for nothing.

    Args:
        folder: folder with ``model_index.json``.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file() and not item.name.startswith(".")):
        size = path.stat().st_size
        if path.suffix == ".json" and size < _SAMPLE_BYTES:
            content = _without_versions(path.read_bytes())
        else:
            with path.open("rb") as file:
                content = file.read(_SAMPLE_BYTES)
                file.seek(max(0, size - _SAMPLE_BYTES))
                content += file.read()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _without_versions(data: bytes) -> bytes:
    try:
        content = json.loads(data)
    except ValueError:
        return data
    if not isinstance(content, dict):
        return data
    return json.dumps({k: v for k, v in content.items() if not k.endswith("_version")}, sort_keys=True).encode()
