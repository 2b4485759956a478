# SPDX-License-Identifier: Apache-2.0
"""Image files to arrays, with one clear sentence for a file that cannot be read."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seas_aug.errors import SeasError

_CACHE_BYTES = 256 * 2**20  # so that checking, hashing and loading a few-shot set decode each file once
_cache: OrderedDict[tuple[str, int, int], NDArray[Any]] = OrderedDict()
_LOSSY = {".jpg", ".jpeg", ".webp"}
_hashes: dict[tuple[str, int, int], str] = {}  # a whole data set is hashed more than once, far apart


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode an image file of any supported kind.

    Grey images get three equal channels, an alpha channel is dropped, 16-bit values are scaled to 8 bits. Orientation
    tags are not applied, as in anomalib, so that image and mask always agree.

    Args:
        path: png, jpg, bmp, tif or webp file.

    Returns:
        uint8 array [H, W, 3] in RGB order, read-only.

    Raises:
        SeasError: the file is missing, corrupt, cut short, or has values other than 8- or 16-bit.
    """
    return as_rgb(read_native(path))


def as_rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels in the form that everything here calculates with.

    Args:
        pixels: uint8 or uint16, ``[H, W]``, or ``[H, W, C]`` in RGB order; an alpha channel is dropped.

    Returns:
        uint8 ``[H, W, 3]``; 16-bit values are divided by 257, grey is repeated.
    """
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    colour = pixels[:, :, :3] if pixels.shape[2] >= 3 else np.repeat(pixels[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(colour)


def read_native(path: Path) -> NDArray[Any]:
    """Decode an image file with its own depth and channels.

    Args:
        path: png, jpg, bmp, tif or webp file.

    Returns:
        uint8 or uint16, ``[H, W]`` for a grey image, else ``[H, W, 3]`` in RGB order or ``[H, W, 4]`` with alpha;
        read-only.

    Raises:
        SeasError: as for :func:`read_rgb`.
    """
    pixels = _decode(path)
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        pixels = pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]]
    elif pixels.ndim == 3:
        pixels = pixels[:, :, 0]
    pixels.setflags(write=False)
    return pixels


def write_native(pixels: NDArray[Any]) -> bytes:
    """Encode pixels as PNG, which keeps every bit.

    Args:
        pixels: uint8 or uint16, ``[H, W]``, ``[H, W, 3]`` in RGB order or ``[H, W, 4]`` with alpha.
    """
    if pixels.ndim == 3:
        pixels = pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]]
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels))
    return bytes(data)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Decode a mask file.

    Every pixel that is not black is defect, as in anomalib. In a lossy file (jpg, webp) only pixels above half of
    the brightest value are, because compression leaves faint noise around the defect.

    Args:
        path: mask file.

    Returns:
        uint8 array [H, W] of 0 and 1.

    Raises:
        SeasError: the file is missing, corrupt or cut short.
    """
    brightest = read_rgb(path).max(axis=2)
    threshold = int(brightest.max()) // 2 if path.suffix.lower() in _LOSSY else 0
    return (brightest > threshold).astype(np.uint8)


def content_hash(path: Path) -> str:
    """Return a hash of the picture itself: the same pixels in another file or lossless format have the same hash.

    Args:
        path: image file.

    Returns:
        SHA-256 in hexadecimal over height, width and the decoded RGB pixels.

    Raises:
        SeasError: the file is missing or corrupt.
    """
    key = _file_key(path)
    if key not in _hashes:
        pixels = read_rgb(path)
        digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}:".encode())
        digest.update(pixels.tobytes())
        _hashes[key] = digest.hexdigest()
    return _hashes[key]


def _file_key(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected an image file, put it back or correct the path."
        raise SeasError(message) from error
    return str(path), status.st_mtime_ns, status.st_size


def _decode(path: Path) -> NDArray[Any]:
    key = _file_key(path)
    try:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
        data = path.read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected an image file, put it back or correct the path."
        raise SeasError(message) from error
    pixels = _decode_bytes(data)
    if pixels is None:
        message = f"{path}: corrupt or no image ({len(data)} bytes); expected a whole image file, replace or remove it."
        raise SeasError(message)
    if pixels.dtype not in (np.uint8, np.uint16):
        message = f"{path}: values of type {pixels.dtype}; expected an 8- or 16-bit image, convert it."
        raise SeasError(message)
    pixels.setflags(write=False)
    _cache[key] = pixels
    while sum(item.nbytes for item in _cache.values()) > _CACHE_BYTES:
        _cache.popitem(last=False)
    return pixels


def _decode_bytes(data: bytes) -> NDArray[Any] | None:
    if not data or _is_cut_short(data):
        return None
    with _quiet_opencv():
        try:
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:  # some decoders raise where others return None; both mean "corrupt"
            return None


def _is_cut_short(data: bytes) -> bool:
    """Some OpenCV versions fill the missing part of a PNG or JPEG with grey instead of failing."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return False


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's own log lines away from the user: the error sentence says it all."""
    logging = getattr(cv2.utils, "logging", None)
    if logging is None:
        yield
        return
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
