"""Read MATLAB files of versions 5 to 7: numbers, text, cells and structures, but no code.

SciPy has a reader too, but it trusts the file: a damaged file can crash the whole process. This reader checks every length
before it is used.

Source: MathWorks, MAT-File Format, chapter 1 (Level 5).
"""

import math
import struct
import zlib
from collections.abc import Collection
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16-{}", 16: "utf-8", 17: "utf-16-{}", 18: "utf-32-{}"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCTURE, _CHARACTERS, _NUMERIC = 1, 2, 4, range(6, 16)
_HEADER_BYTES = 128
_LARGEST_BYTES = 1 << 31


def read_matlab(path: Path, wanted: Collection[str]) -> dict[str, Any]:
    """Read some of the variables of a MATLAB file.

    Args:
        path: a file of version 5 to 7.
        wanted: the names of the variables; missing variables are omitted.

    Returns:
        Values by name: numbers as a NumPy array (a view of the file; copy it), text as str, a cell array as a list, a structure
        as a dict, a structure array as a list of dicts, anything else as None.

    Raises:
        ValueError, struct.error, zlib.error, KeyError: the file is damaged.
    """
    with path.open("rb") as file:
        data = memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
    order = "<" if bytes(data[126:128]) == b"IM" else ">"
    found: dict[str, Any] = {}
    at = _HEADER_BYTES
    while at < len(data):
        kind, content, at = _element(data, at, order)
        if kind == _COMPRESSED:
            kind, content, _ = _element(memoryview(zlib.decompressobj().decompress(content, _LARGEST_BYTES)), 0, order)
        if kind == _MATRIX:
            name, shape, flags, start = _start_of_matrix(content, order)
            if name in wanted:
                found[name] = _value(content, start, shape, flags, order)
    return found


def _element(data: memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """Read the element at a position: (kind, content, position of the next element)."""
    kind, size = struct.unpack_from(f"{order}II", data, at)
    if kind >> 16:  # a small element has its size and content in the tag
        kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
    else:
        start = at + 8
        end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
    content = data[start : start + size]
    if len(content) < size:
        raise ValueError(f"expected {size} bytes, found {len(content)}")
    return kind, content, end


def _start_of_matrix(data: memoryview, order: str) -> tuple[str, tuple[int, ...], int, int]:
    """Read the header of a matrix: (name, shape, class, position of its content)."""
    _, flags, at = _element(data, 0, order)
    _, shape, at = _element(data, at, order)
    _, name, at = _element(data, at, order)
    sizes = tuple(int(size) for size in np.frombuffer(shape, f"{order}i4"))
    if any(size < 0 for size in sizes):
        raise ValueError(f"negative size: {sizes}")
    return bytes(name).decode("latin-1"), sizes, struct.unpack_from(f"{order}I", flags)[0] & 0xFF, at


def _value(data: memoryview, at: int, shape: tuple[int, ...], kind: int, order: str) -> Any:
    """Read the content of a matrix of the given class and shape, starting at a position."""
    if kind == _CELL:
        cells = []
        for _ in range(math.prod(shape)):
            _, content, at = _element(data, at, order)
            cells.append(_inner(content, order))
        return cells
    if kind == _STRUCTURE:
        return _structures(data, at, math.prod(shape), order)
    if kind != _CHARACTERS and kind not in _NUMERIC:
        return None
    stored, content, _ = _element(data, at, order)
    if kind == _CHARACTERS:
        return bytes(content).decode(_TEXT[stored].format("le" if order == "<" else "be"))
    return np.frombuffer(content, order + _NUMBERS[stored]).reshape(shape, order="F")


def _structures(data: memoryview, at: int, count: int, order: str) -> Any:
    _, length, at = _element(data, at, order)
    _, names, at = _element(data, at, order)
    width = struct.unpack_from(f"{order}i", length)[0]
    fields = [bytes(names[i : i + width]).split(b"\0")[0].decode("latin-1") for i in range(0, len(names), width)]
    structures = []
    for _ in range(count):
        structure = {}
        for field in fields:
            _, content, at = _element(data, at, order)
            structure[field] = _inner(content, order)
        structures.append(structure)
    return structures[0] if count == 1 else structures


def _inner(data: memoryview, order: str) -> Any:
    """Read a nested matrix; if it has zero bytes, it is MATLAB's empty array."""
    if not len(data):
        return np.empty((0, 0))
    _, shape, kind, at = _start_of_matrix(data, order)
    return _value(data, at, shape, kind, order)
