"""The wire contract: bytes in, requests and replies out. No socket, no clock, no model here.

    request   {"body": "<JSON text of records>", "isBase64Encoded": false, "id": "<optional>"}
    answer    [6.57, 4.86]      or, with an id,  {"id", "predictions": [6.57, 4.86], "model"}
    refusal   {"error": {…}}    or               {"id", "error": {…}}
    error     {"code", "message", "row", "field"}

A record has the model's features by name. Rows count from 0; `row` and `field` are null where a
refusal isn't about one. A number is printed as the float64 of the float32 that the forest summed
up, in the shortest text that reads back to it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from .forest import FLOAT32_MAX

REQUEST_TOPIC = "local/inference"
ANSWER_TOPIC = "local/result"

# Nucleus Lite's packets end at 10,000 bytes, base64 and JSON around it included: 7,000 bytes of
# binary passed, 7,300 didn't, and it closes the connection on them (2.6.0, 2026-11-23). Kept on
# every runtime, so that what works on one device works on the next.
MAX_MESSAGE = 7_000
MAX_REQUEST = (
    2**20
)  # Java's nucleus carries 24 MiB, which as parsed JSON would outgrow the container
MAX_ID = 128

Record = dict[str, Any]


class Code(StrEnum):
    """Why a request was refused."""

    NOT_JSON = "not-json"
    NOT_A_REQUEST = "not-a-request"
    BAD_ID = "bad-id"
    NOT_BASE64 = "not-base64"
    NOT_RECORDS = "not-records"
    MISSING_FEATURE = "missing-feature"
    UNKNOWN_FEATURE = "unknown-feature"
    NOT_A_NUMBER = "not-a-number"
    OUT_OF_RANGE = "out-of-range"
    TOO_LARGE = "too-large"
    BUSY = "busy"
    INTERNAL = "internal"


class BadRequest(Exception):
    """The peer's fault, told to the peer; `id` is the request's, as soon as it is known."""

    def __init__(
        self, code: Code, message: str, *, row: int | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.row = row
        self.field = field
        self.id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """Rows of values in the model's order; NaN where a value is missing and may be."""

    id: str | None
    rows: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client gets for a request with an id."""

    id: str
    predictions: list[float]
    model: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What a client gets instead of an answer."""

    id: str
    code: str
    message: str
    row: int | None
    field: str | None


def decode(payload: bytes, features: Sequence[str], *, missing_allowed: bool) -> Request:
    """A request for a model with these features; raises BadRequest."""
    envelope = _envelope(payload)
    identity = _identity(envelope)
    try:
        return Request(id=identity, rows=_rows(_records(envelope), features, missing_allowed))
    except BadRequest as bad:
        bad.id = identity
        raise


def identity(payload: bytes) -> str | None:
    """The id of a request that nobody will look at any closer."""
    try:
        return _identity(_envelope(payload))
    except BadRequest:
        return None


def encode_answer(request_id: str | None, predictions: list[float], model: str) -> bytes:
    """The answer's bytes; raises BadRequest for one that a message can't carry."""
    answer: Any = predictions
    if request_id is not None:
        answer = {"id": request_id, "predictions": predictions, "model": model}
    encoded = json.dumps(answer).encode()
    if len(encoded) > MAX_MESSAGE:
        without = len(encoded) - len(json.dumps(predictions))
        bad = BadRequest(
            Code.TOO_LARGE,
            f"the answer to {len(predictions)} rows has {len(encoded)} bytes, a message carries"
            f" {MAX_MESSAGE}: the first {_fitting(predictions, MAX_MESSAGE - without)} rows fit",
        )
        bad.id = request_id
        raise bad
    return encoded


def encode_refusal(bad: BadRequest) -> bytes:
    error = {"code": bad.code, "message": bad.message, "row": bad.row, "field": bad.field}
    addressed = {} if bad.id is None else {"id": bad.id}
    return json.dumps({**addressed, "error": error}).encode()


def encode_request(request_id: str, records: Sequence[Record]) -> bytes:
    return json.dumps(
        {"id": request_id, "body": json.dumps(records), "isBase64Encoded": False}
    ).encode()


def decode_reply(payload: bytes) -> Answer | Refusal | None:
    """A reply to a request with an id; None for whatever else is said on the topic."""
    try:
        reply = json.loads(payload)
        identity = reply["id"]
        if "error" in reply:
            error = reply["error"]
            return Refusal(
                id=identity,
                code=error["code"],
                message=error["message"],
                row=error["row"],
                field=error["field"],
            )
        return Answer(id=identity, predictions=reply["predictions"], model=reply["model"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    """The records in runs that a message carries; raises ValueError where one alone is too long."""
    longest_id = "x" * MAX_ID
    batch: list[Record] = []
    for row, record in enumerate(records):
        if len(encode_request(longest_id, [record])) > MAX_MESSAGE:
            raise ValueError(f"row {row} makes a request of more than {MAX_MESSAGE} bytes")
        if len(encode_request(longest_id, [*batch, record])) > MAX_MESSAGE:
            yield batch
            batch = []
        batch.append(record)
    yield batch


def _envelope(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_REQUEST:
        raise BadRequest(
            Code.TOO_LARGE,
            f"the request has {len(payload)} bytes, more than {MAX_REQUEST}: send fewer rows",
        )
    envelope = _json(payload, "the request")
    if not isinstance(envelope, dict):
        raise BadRequest(
            Code.NOT_A_REQUEST,
            'a request is an object {"body": "<JSON text of records>"}, found ' + _shown(envelope),
        )
    return envelope


def _identity(envelope: dict[str, Any]) -> str | None:
    found = envelope.get("id")
    if found is None or (isinstance(found, str) and 0 < len(found) <= MAX_ID):
        return found
    raise BadRequest(
        Code.BAD_ID,
        f"an id is a text of 1 to {MAX_ID} characters, found {_shown(found)}",
        field="id",
    )


def _records(envelope: dict[str, Any]) -> list[Any]:
    body, encoded = envelope.get("body"), envelope.get("isBase64Encoded", False)
    if not isinstance(body, str):
        found = _shown(body) if "body" in envelope else "none"
        raise BadRequest(
            Code.NOT_A_REQUEST, f"body is the JSON text of the records, found {found}", field="body"
        )
    if not isinstance(encoded, bool):
        raise BadRequest(
            Code.NOT_A_REQUEST,
            f"isBase64Encoded is true or false, found {_shown(encoded)}",
            field="isBase64Encoded",
        )
    text: str | bytes = body
    if encoded:
        try:
            text = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise BadRequest(
                Code.NOT_BASE64, f"body is not base64, as isBase64Encoded says: {exc}", field="body"
            ) from exc
    records = _json(text, "body")
    if not isinstance(records, list):
        raise BadRequest(
            Code.NOT_RECORDS, f"body is a list of records, found {_shown(records)}", field="body"
        )
    return records


def _rows(records: list[Any], features: Sequence[str], missing_allowed: bool) -> list[list[float]]:
    rows = []
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise BadRequest(
                Code.NOT_RECORDS,
                f"row {number} is a record, feature name to number; found {_shown(record)}",
                row=number,
            )
        row, absent = [], 0
        for name in features:
            value = record.get(name)
            if value is None:
                if not missing_allowed:
                    raise BadRequest(
                        Code.MISSING_FEATURE,
                        f"row {number} lacks {name!r}; this model was not trained with missing"
                        " values",
                        row=number,
                        field=name,
                    )
                absent += name not in record
                value = math.nan
            elif type(value) is not float and type(value) is not int:  # a bool is an int, too
                raise BadRequest(
                    Code.NOT_A_NUMBER,
                    f"row {number}: {name!r} is a number, found {_shown(value)}",
                    row=number,
                    field=name,
                )
            elif not -FLOAT32_MAX <= value <= FLOAT32_MAX:
                raise BadRequest(
                    Code.OUT_OF_RANGE,
                    f"row {number}: {name!r} is a float32 of at most {FLOAT32_MAX:.8g}, found"
                    f" {_shown(value)}",
                    row=number,
                    field=name,
                )
            row.append(value)
        if len(record) > len(features) - absent:
            unknown = min(record.keys() - set(features))
            raise BadRequest(
                Code.UNKNOWN_FEATURE,
                f"row {number}: the model has no feature {_shown(unknown)}; it has"
                f" {_cut(', '.join(features), 1000)}",
                row=number,
                field=_cut(unknown, MAX_ID),
            )
        rows.append(row)
    return rows


def _json(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError) as exc:
        # ValueError: also what isn't UTF-8, and integers of thousands of digits
        raise BadRequest(Code.NOT_JSON, f"{what} is not JSON: {_cut(str(exc), 200)}") from exc


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _fitting(predictions: list[float], room: int) -> int:
    """How many predictions, from the first, print into so many bytes."""
    used = len("[]")
    for count, prediction in enumerate(predictions):
        used += len(json.dumps(prediction)) + (len(", ") if count else 0)
        if used > room:
            return count
    return len(predictions)


def _shown(value: Any) -> str:
    """A value as the peer would recognise it, cut short."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if type(value) is int and abs(value) > FLOAT32_MAX:
        return "an integer of many digits"  # which Python may refuse to print
    return _cut(json.dumps(value), 80)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
