"""A file that isn't a model as XGBoost saves it gets an error with the file and the remedy."""

from __future__ import annotations

import bz2
import gzip
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.model.model_file import read
from infra.settings import Misconfigured
from tests.edge.compiling import SHIPPED


@pytest.mark.parametrize(
    ("pack", "says"),
    [
        (lambda model: model.decode().encode("utf-16"), "is in UTF-16: save it as UTF-8"),
        (lambda model: b"\xfe\xff" + model.decode().encode("utf-16-be"), "is in UTF-16"),
        (pickle.dumps, "is a pickle: load it in Python, and call its save_model"),
        (gzip.compress, "is packed by gzip: unpack it"),
        (bz2.compress, "is packed by bzip2: unpack it"),
        (lambda model: b"PK\x03\x04" + model, "is a ZIP archive: unpack it"),
        (zlib.compress, "is neither JSON nor UBJSON, or is cut off. Save the model:"),
        (lambda _model: b"", "is neither JSON nor UBJSON"),
    ],
    ids=["utf-16", "utf-16-be", "pickle", "gzip", "bzip2", "zip", "joblib by zlib", "empty"],
)
def test_a_packed_file_is_refused_with_its_name_and_the_remedy(
    tmp_path: Path, pack: Callable[[bytes], bytes], says: str
) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(pack(SHIPPED.read_bytes()))
    with pytest.raises(Misconfigured) as refused:
        read(path, engine_name="evaluator")
    said = str(refused.value)
    assert said.startswith(f"model '{path}' can't be released.\nthe file {says}")
    assert said.count("\n") < 4
