"""Describes a model file: its kind, its limits, and the commands that release it."""

from __future__ import annotations

import bz2
import shlex
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge.inference.model import model_id
from edge.inference.protocol import MAX_MESSAGE, MAX_REQUEST, encode_request
from edge.inference.settings import Engine
from fleet.terminal import words
from infra.model import samples
from infra.model.golden import PROBABILITIES
from infra.model.memory import needed_memory
from infra.model.model_file import Reading, read
from infra.settings import OF_A_RELEASE

_NAMED = 6  # A message names this many features.
_MEMORY = int(str(OF_A_RELEASE["memory"]))
_NUMBER = "0.123456789,"  # A number in an answer has about this length.


def tell(file: Path, data: Path | None, console: Console) -> None:
    """Print it. Raises Misconfigured for a file that can't be released, or rows that don't fit."""
    known = read(file, engine_name=Engine.XGBOOST)  # XGBoost reads every kind of model.
    engine = Engine.XGBOOST if known.unsupported else Engine.EVALUATOR
    reading = read(file, engine_name=engine)
    rows = samples.read(data, reading.model) if data else []
    memory = needed_memory(len(reading.file), engine, features=len(reading.model.feature_names))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for what, said in _facts(file, reading, known, engine, memory):
        table.add_row(what, words(said))
    if data:
        size = len(encode_request("x", rows)) // len(rows)
        fit = min(MAX_REQUEST // size, MAX_MESSAGE // (len(_NUMBER) * reading.model.outputs))
        table.add_row("rows", words(f"{len(rows)} in {data.name}; about {fit} fit into a request"))
    console.print(table)
    console.print("\nTo release it, type:")
    for line in _config(file, data, reading, engine, memory):
        console.print(words(f"    {line}"), soft_wrap=True)


def _facts(
    file: Path, reading: Reading, known: Reading, engine: Engine, memory: int
) -> Iterator[tuple[str, str]]:
    model = reading.model
    yield "id", model_id(reading.file)
    yield "file", f"{file.name}, {file.stat().st_size:,} bytes"
    yield "kind", f"{reading.booster}, {model.objective}"
    trees = f"{reading.rounds:,} rounds"
    if model.trees:
        trees += f", {model.trees:,} trees"
    if known.depth is not None:
        trees += f" of depth {known.depth} at most, {known.nodes:,} nodes"
    yield "trees", trees
    if known.best is not None:
        yield "stopped early", f"after round {known.best:,} it only got worse"
    names = ", ".join(model.feature_names[:_NAMED])
    more = len(model.feature_names) - _NAMED
    rest = f" and {more:,} more" if more > 0 else ""
    yield "features", f"{len(model.feature_names):,}: {names}{rest}"
    strange = sorted({*model.feature_types} - {"float", "q"})
    if strange:
        yield "types", f"float, {', '.join(strange)}"
    yield "missing values", "allowed" if model.missing_allowed else "refused"
    yield "answers", "one number a row" if model.outputs == 1 else f"{model.outputs} numbers a row"
    yield "engine", f"{engine}{f': {known.unsupported}' if known.unsupported else ', bit for bit'}"
    packed = len(bz2.compress(reading.file))
    yield "to the device", f"{packed:,} bytes, {len(reading.file):,} unpacked"
    do = "nothing to set" if memory <= _MEMORY else "set it as below"
    yield "memory", f"a container on the device needs {memory} MiB, and gets {_MEMORY}: {do}"


def _config(
    file: Path, data: Path | None, reading: Reading, engine: Engine, memory: int
) -> Iterator[str]:
    yield _sets("model", file)
    yield (
        _sets("samples", data)
        if data
        else "pulumi config set samples ROWS    # X.tolist() as JSON, or CSV or Parquet by pandas"
    )
    if engine is not Engine.EVALUATOR:
        yield f"pulumi config set engine {engine}"
    if memory > _MEMORY:
        yield f"pulumi config set memory {memory}"
    if reading.best is not None:
        yield (
            "pulumi config set trees best    # as XGBRegressor and XGBClassifier predict; all, as"
            " Booster.predict does"
        )
    predict = "predict_proba" if reading.model.objective in PROBABILITIES else "predict"
    yield (
        f"# pulumi config set predictions ANSWERS    if you like: model.{predict}(X).tolist() as"
        " JSON, to be compared"
    )


def _sets(key: str, path: Path) -> str:
    name = shlex.quote(str(path))
    return f"pulumi config set {key} {'-- ' if name.startswith('-') else ''}{name}"
