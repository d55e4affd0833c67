"""Compares the evaluator with the way of the examples, from request bytes to answer bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pandas as pd
import xgboost

from edge.inference.engines.loader import Evaluator, answers
from edge.inference.protocol import decode, encode_answer, encode_request
from edge.inference.protocol import records as records_of
from tests.bench import model
from tests.bench.evaluating.interleave import interleaved
from tests.bench.table import Row, microseconds

OURS, COMMON = "ours", "pandas.read_json → XGBRegressor.predict → json"
PLAIN = "json.loads and json.dumps of the same texts"


def rows() -> Iterator[Row]:
    forest, evaluator = model.model(), model.evaluator()
    columns = list(forest.feature_names)
    values = model.ordinary_rows(512).astype(float).tolist()
    records = [dict(zip(columns, row, strict=True)) for row in values]
    requests = [encode_request("bench-1", records[at : at + 2]) for at in range(0, 512, 2)]
    regressor = xgboost.XGBRegressor(n_jobs=1)  # One thread is the fastest here.
    regressor.load_model(model.MODEL)

    def ours(number: int) -> bytes:
        request = decode(requests[number % 256])
        return encode_answer(request.id, answers(evaluator, records_of(request)), forest.id)

    def common(number: int) -> bytes:
        event = json.loads(requests[number % 256])
        frame = pd.read_json(io.StringIO(event["body"]))
        predictions = regressor.predict(frame[columns]).tolist()
        return json.dumps({"id": event["id"], "predictions": predictions}).encode()

    for number in range(256):
        mine, theirs = json.loads(ours(number)), json.loads(common(number))
        if mine["predictions"] != theirs["predictions"]:
            raise AssertionError(f"{mine} instead of {theirs}")
    times = interleaved({OURS: ours, COMMON: common}, rounds=100)
    faster = times.times_faster(OURS, COMMON)
    yield Row(
        what="JSON to JSON, 2 rows",
        ours=microseconds(times.median(OURS)),
        reference=f"{COMMON}: {microseconds(times.median(COMMON))}",
        relation=f"1/{faster:.1f}",
        bound="at most 1/25",
        met=faster >= 25,
    )
    yield _plain(evaluator, columns, forest.id)


def _plain(evaluator: Evaluator, columns: list[str], model_id: str) -> Row:
    """The time to read and write the same three texts, and nothing else."""
    values = model.ordinary_rows(64 * 32).astype(float).tolist()
    records = [dict(zip(columns, row, strict=True)) for row in values]
    requests = [encode_request("bench-1", records[at : at + 64]) for at in range(0, 64 * 32, 64)]
    bodies = [json.loads(request)["body"] for request in requests]

    def ours(number: int) -> bytes:
        request = decode(requests[number % 32])
        return encode_answer(request.id, answers(evaluator, records_of(request)), model_id)

    replies = [json.loads(ours(number)) for number in range(32)]

    def plain(number: int) -> str:
        json.loads(requests[number % 32])
        json.loads(bodies[number % 32])
        return json.dumps(replies[number % 32])

    times = interleaved({OURS: ours, PLAIN: plain}, rounds=300)
    ratio = 1 / times.times_faster(OURS, PLAIN)
    return Row(
        what="JSON to JSON, 64 rows",
        ours=microseconds(times.median(OURS)),
        reference=f"{PLAIN}: {microseconds(times.median(PLAIN))}",
        relation=f"{ratio:.2f}",
        bound="at most 1.35",
        met=ratio <= 1.35,
    )
