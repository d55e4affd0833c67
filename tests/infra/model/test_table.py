"""Files of rows as scientists write them: of plain arrays, by pandas, by NumPy, in Parquet."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from edge.inference.model import Model
from edge.inference.protocol import decode, encode_description
from greenhouse.ask_model import described
from infra.model import samples
from infra.settings import Misconfigured

X = np.array([[5.8, 2.8, 5.1], [6.0, -2.2, 1e-3], [0.1, 1 / 3, 7.0]])
ARRAY = Model(
    id="627219b0145e",
    feature_names=("f0", "f1", "f2"),
    feature_types=("float", "float", "float"),
    missing_allowed=False,
    outputs=1,
    trees=1,
)
NAMED = Model(
    id="627219b0145e",
    feature_names=("temp", "open", "rpm"),
    feature_types=("float", "i", "int"),
    missing_allowed=True,
    outputs=1,
    trees=1,
)

WRITTEN: dict[str, Callable[[Path], object]] = {
    "tolist.json": lambda path: path.write_text(json.dumps(X.tolist())),
    "records.json": lambda path: pd.DataFrame(X).to_json(
        path, orient="records", double_precision=15
    ),
    "table.csv": lambda path: pd.DataFrame(X).to_csv(path),
    "bare.csv": lambda path: pd.DataFrame(X).to_csv(path, index=False),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_rows_of_a_plain_array_are_the_model_s_columns_in_their_order(
    tmp_path: Path, name: str
) -> None:
    WRITTEN[name](tmp_path / name)
    read = samples.read(tmp_path / name, ARRAY)
    assert [list(record) for record in read] == [list(ARRAY.feature_names)] * len(X)
    assert samples.packed(read) == X.astype(np.float32).tobytes()


def refused(path: Path, model: Model = ARRAY) -> str:
    with pytest.raises(Misconfigured) as caught:
        samples.read(path, model)
    said = str(caught.value)
    assert said.count("\n") < 4, "three parts, where Pulumi shows it"
    return said


def test_columns_by_place_are_refused_for_a_model_with_names_or_of_another_width(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame(X).to_csv(path)
    assert "missing: open, rpm, temp" in refused(path, NAMED)
    pd.DataFrame(X[:, :2]).to_csv(path)
    assert "missing: f0, f1, f2" in refused(path)


def test_names_that_the_model_never_saw_are_refused_with_how_to_leave_them_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame(X, columns=["sepal", "petal", "width"]).to_csv(path)
    assert refused(path).endswith("\n    json.dump(X.to_numpy().tolist(), file)")


def test_the_shipped_rows_are_refused_for_another_model_with_what_to_set() -> None:
    assert refused(Path("edge/consumer/samples.json")).endswith("pulumi config set samples PATH")


def test_a_table_without_a_line_of_names_is_refused_with_what_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    np.savetxt(path, X, delimiter=",")
    said = refused(path)
    assert "The first line of a CSV names the columns" in said
    assert "pandas.DataFrame(X).to_csv(PATH)" in said


@pytest.mark.parametrize(
    ("write", "remedy"),
    [
        (
            lambda path: pd.DataFrame(X).to_json(path),
            "df.to_json(PATH, orient='records', double_precision=15)",
        ),
        (lambda path: path.write_text(repr(X.tolist()[0])[:-1]), "json.dump(X.tolist(), file)"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "json.dump(X.tolist(), file)"),
    ],
)
def test_a_file_without_a_list_of_rows_is_refused_with_what_writes_one(
    tmp_path: Path, write: Callable[[Path], Any], remedy: str
) -> None:
    write(tmp_path / "rows")
    assert remedy in refused(tmp_path / "rows")


def test_the_device_s_description_is_enough_to_read_the_same_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"rpm": 3, "temp": None, "open": True}]))
    asked = decode(json.dumps({"id": "a", "describe": True}).encode())
    told = json.loads(encode_description(asked, NAMED))["description"]
    assert samples.read(path, described(told)) == samples.read(path, NAMED)
    assert samples.read(path, NAMED) == [{"temp": None, "open": 1, "rpm": 3}]


def test_parquet_without_pyarrow_is_refused_with_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)  # As if it weren't installed.
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1\x15\x00")
    said = refused(path)
    assert ".venv/bin/pip install pyarrow" in said
    assert "pandas.read_parquet(PATH).head(100).to_json('samples.json', orient='records'" in said


def test_parquet_is_read_as_pandas_writes_it(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    frame = pd.DataFrame(X, columns=["f0", "f1", "f2"], index=["a", "b", "c"])
    for table in (frame, frame.reset_index(drop=True), pd.DataFrame(X).rename(columns=str)):
        table.to_parquet(path)
        assert samples.packed(samples.read(path, ARRAY)) == X.astype(np.float32).tobytes()
    known = {"temp": [0.5, float("nan")], "open": [True, False], "rpm": [3, 4]}
    pd.DataFrame(known).to_parquet(path)
    assert samples.read(path, NAMED) == [
        {"temp": 0.5, "open": 1, "rpm": 3},
        {"temp": None, "open": 0, "rpm": 4},
    ]
    path.write_bytes(path.read_bytes()[:-9])
    assert "is not Parquet that pyarrow reads" in refused(path, NAMED)
