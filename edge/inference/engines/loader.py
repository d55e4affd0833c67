"""Loads a model file into an evaluator."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from itertools import chain, islice
from mmap import ACCESS_COPY, mmap
from pathlib import Path
from typing import BinaryIO, Protocol

from edge.inference.engines import forest
from edge.inference.engines.booster import Booster
from edge.inference.files import MAX_FILE, UnusableFile
from edge.inference.model import Answers, Model, ModelRefused
from edge.inference.protocol import most_rows
from edge.inference.rows import rows
from edge.inference.settings import Engine

# It also limits the unpacked file: a hostile file of 1 kB unpacks to gigabytes.
MAX_MODEL = MAX_FILE
_PACKED = b"BZh"
_CHUNK = 2**16  # In bytes.
_VALUES = 2**16  # Rows in lists are read by this many values. More would need too much memory.


class Evaluator(Protocol):
    """Maps rows of values in the features' order to answers, the float64 of a float32.

    `answered` takes the JSON text of at most `most` records, and returns None for a text that it
    doesn't read. One thread at a time calls it, but not always the same thread.
    """

    @property
    def model(self) -> Model: ...
    def predict(self, rows: list[list[float]]) -> Answers: ...
    def answered(self, records: str, most: int) -> Answers | None: ...


def answers(evaluator: Evaluator, records: str) -> Answers:
    """The answers to the JSON text of a request's records. Raises BadRequest."""
    model = evaluator.model
    most = most_rows(model.outputs)
    found = evaluator.answered(records, most)
    if found is not None:
        return found
    values = rows(records, model.feature_names, missing_allowed=model.missing_allowed, most=most)
    at_once = max(1, _VALUES // len(model.feature_names))
    found = []
    while block := list(islice(values, at_once)):
        found += evaluator.predict(block)
    return found


def load(path: Path, engine: Engine) -> Evaluator:
    """An evaluator for the model in a file, packed or not. Raises UnusableFile."""
    try:
        file = path.open("rb")
    except OSError as exc:
        raise UnusableFile(f"{path}: {exc.strerror}. Is it mounted into the container?") from exc
    with file:
        try:
            if engine is Engine.XGBOOST:
                return Booster(unpacked(file))
            return forest.Evaluator(mapped(file))
        except ModelRefused as exc:
            raise UnusableFile(f"{path}: {exc}") from exc
        except OSError as exc:  # Loading the library raises it. A bad file is refused above.
            raise UnusableFile(
                f"engine {engine} can't be loaded: {exc}. The image is incomplete, or built for"
                " another architecture than this device's: see `architectures`, and publish it"
                " again"
            ) from exc


def unpacked(file: BinaryIO) -> bytes:
    """The content of a file, unpacked if it is bzip2. Raises ModelRefused."""
    if not _is_packed(file):
        _check_size(file.seek(0, 2), "has")
        file.seek(0)
        return file.read()
    return b"".join(_pieces(file))


def mapped(file: BinaryIO) -> mmap:
    """The mapped file, or a bzip2 file unpacked into memory of its size. Raises ModelRefused."""
    if not _is_packed(file):
        size = file.seek(0, 2)
        _check_size(size, "has")
        if not size:
            raise ModelRefused("the model has 0 bytes: cut off. Copy it again")
        return mmap(file.fileno(), size, access=ACCESS_COPY)
    pieces = _pieces(file)
    first = next(pieces, b"")
    if len(first) < forest.HEADER.size or not first.startswith(forest.MAGIC):
        raise ModelRefused("the packed model is no compiled forest. Publish it again")
    size = forest.HEADER.unpack_from(first)[3]
    _check_size(size, "unpacks to")
    memory = mmap(-1, max(size, 1))  # `mmap` refuses 0 bytes.
    for piece in chain([first], pieces):
        if memory.tell() + len(piece) > size:
            raise ModelRefused("the packed model is longer than it says. Copy it again")
        memory.write(piece)
    if memory.tell() != size:
        raise ModelRefused("the packed model is shorter than it says. Copy it again")
    return memory


def _is_packed(file: BinaryIO) -> bool:
    found = file.read(len(_PACKED)) == _PACKED
    file.seek(0)
    return found


def _check_size(size: int, verb: str) -> None:
    if size > MAX_MODEL:
        raise ModelRefused(
            f"the model {verb} more than {MAX_MODEL} bytes. Train fewer or smaller trees"
        )


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """The unpacked file in bounded pieces. Raises ModelRefused."""
    unpacking, size = bz2.BZ2Decompressor(), 0
    while not unpacking.eof:
        more = file.read(_CHUNK) if unpacking.needs_input else b""
        if unpacking.needs_input and not more:
            raise ModelRefused("the model is packed, and cut off. Copy it again")
        try:
            piece = unpacking.decompress(more, _CHUNK)
        except OSError as exc:
            raise ModelRefused(f"the model is packed, and broken: {exc}. Copy it again") from exc
        size += len(piece)
        _check_size(size, "unpacks to")
        if piece:
            yield piece
