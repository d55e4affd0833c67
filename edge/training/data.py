"""Reads the Wine Quality tables, and accepts only the published files.

Several public copies are synthetic or altered, so a table's hash is checked. The tables aren't in
this repository. The error of a missing table says where they are.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pandas as pd

CITATION = (
    "P. Cortez, A. Cerdeira, F. Almeida, T. Matos, J. Reis: Wine Quality. UCI Machine Learning"
    " Repository, 2009, doi 10.24432/C56S3T (https://doi.org/10.24432/C56S3T), CC BY 4.0"
)
SHA256 = {
    "red": "4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e",
    "white": "76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836",
}
TARGET = "quality"


class TableRefused(Exception):
    """A table is missing, or isn't the published file."""


def table_path(folder: Path, color: str) -> Path:
    return folder / f"winequality-{color}.csv"


def load(folder: Path) -> pd.DataFrame:
    """Red wines, then white: eleven measurements, quality, color_red and color_white."""
    table = pd.concat(
        [_table(folder, color).assign(color=color) for color in SHA256], ignore_index=True
    )
    return pd.get_dummies(table, columns=["color"], dtype=int)


def _table(folder: Path, color: str) -> pd.DataFrame:
    path = table_path(folder, color)
    files = " and ".join(table_path(folder, name).name for name in SHA256)
    way_out = (
        f"Download {files} from {CITATION}. Then name their folder:\n    make train DATA=FOLDER"
    )
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise TableRefused(
            f"the table of {color} wines, {path}, can't be read: {exc.strerror}.\n{way_out}"
        ) from exc
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[color]:
        raise TableRefused(
            f"{path} is not the published table of {color} wines: its sha256 begins with"
            f" {found[:8]}, and the published file's with {SHA256[color][:8]}.\n{way_out}"
        )
    return pd.read_csv(io.BytesIO(content), sep=";")
