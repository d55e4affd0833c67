"""The wire protocol: converts bytes to requests and replies, and back. It does no I/O.

    request   {"body": "<JSON text of records>", "isBase64Encoded": false, "id": "<optional>"}
    answer    [6.57, 4.86]      or, with an id,  {"id", "predictions": [6.57, 4.86], "model"}
    refusal   {"error": {…}}    or               {"id", "error": {…}}
    error     {"code", "message", "row", "field"}
    request   {"stats": true, "id": "<optional>"}            what the service has done so far
    answer    {"stats": {…}}    or, with an id,  {"id", "stats": {…}}
    request   {"describe": true, "first": 0, "id": "<optional>"}     what the service can be asked
    answer    {"description": {…}}  or, with an id,  {"id", "description": {…}}

A record has the model's features by name. A model with several outputs answers a row with a list.
Rows count from 0. `row` and `field` are null if a refusal isn't about a row or field. A number is
the float64 of the forest's float32, in the shortest text that parses to it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any

from .model import FLOAT32_MAX, Answers, Model, Prediction, is_prediction

REQUEST_TOPIC = "local/inference"
ANSWER_TOPIC = "local/result"

# Nucleus Lite's packets have at most 10,000 bytes, with base64 and JSON. 7,000 bytes of binary
# passed; with 7,300 it closed the connection (2.6.0, 2026-11-23). The limit holds on every runtime,
# so that a client works on every device.
MAX_MESSAGE = 7_000
MAX_ROWS = MAX_MESSAGE // len("0.5, ")  # More answers can't fit, even with short numbers.
# The Java nucleus carries 24 MiB. The service refuses longer requests without reading them.
MAX_REQUEST = 256 * 1024
# A parsed list or object in another takes up to 52 times its text. Records have none inside; the
# rest is for brackets in the features' names. memory.py has the sum of all bounds.
MAX_OPENINGS = 4_096
MAX_ID = 128
MAX_NAMES = 200  # In characters of feature names in a refusal, which must fit into a message.

_FINITE = json.JSONEncoder(allow_nan=False)  # `json.dumps` would make an encoder for each answer.

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
    NOT_FINITE = "not-finite"
    TOO_LARGE = "too-large"
    BUSY = "busy"
    INTERNAL = "internal"


class BadRequest(Exception):
    """The peer's error, reported to the peer."""

    def __init__(
        self, code: Code, message: str, *, row: int | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.row = row
        self.field = field


class Wanted(Enum):
    """The kinds of requests."""

    PREDICTIONS = auto()
    STATS = auto()
    DESCRIPTION = auto()


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request whose rows aren't parsed. Its answer carries `id`."""

    id: str | None
    wanted: Wanted
    envelope: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to a request with an id."""

    id: str
    predictions: Answers
    model: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The refusal of a request with an id."""

    id: str
    code: str
    message: str
    row: int | None
    field: str | None


def most_rows(outputs: int) -> int:
    """The most rows whose answers can fit into a message, even with short numbers."""
    return MAX_ROWS // outputs


def decode(payload: bytes) -> Request:
    """A request of at most MAX_REQUEST bytes. Raises BadRequest, for which no id is known."""
    envelope = _envelope(payload)
    wanted = Wanted.PREDICTIONS
    if "body" not in envelope and envelope.get("stats") is True:
        wanted = Wanted.STATS
    elif "body" not in envelope and envelope.get("describe") is True:
        wanted = Wanted.DESCRIPTION
    return Request(id=_identity(envelope), wanted=wanted, envelope=envelope)


def records(request: Request) -> str:
    """The unparsed JSON text of its records. Raises BadRequest."""
    text = _body(request.envelope)
    _bound(text, "body")
    return text


def identity(payload: bytes) -> str | None:
    """The id of a request that won't be parsed further."""
    try:
        return _identity(_envelope(payload))
    except BadRequest:
        return None


def too_large(size: int) -> BadRequest:
    """The refusal of a request of so many bytes, without its id, because it isn't parsed."""
    return BadRequest(
        Code.TOO_LARGE, f"the request has {size} bytes, more than {MAX_REQUEST}: send fewer rows"
    )


def parsed(text: str | bytes, what: str) -> Any:
    """A peer's JSON, parsed in bounded memory. Raises BadRequest."""
    _bound(text, what)
    return read_json(text, what)


def not_json(what: str, exc: Exception) -> BadRequest:
    """The refusal of an unreadable request."""
    return BadRequest(Code.NOT_JSON, f"{what} is not JSON: {cut(str(exc), MAX_NAMES)}")


def encode_answer(request_id: str | None, predictions: Answers, model: str) -> bytes:
    """The answer's bytes. Raises BadRequest for an answer that JSON or a message can't carry."""
    answer: Any = predictions
    if request_id is not None:
        answer = {"id": request_id, "predictions": predictions, "model": model}
    try:
        encoded = _FINITE.encode(answer).encode()
    except ValueError as exc:
        row = next(row for row, value in enumerate(predictions) if not _is_finite(value))
        raise BadRequest(
            Code.NOT_FINITE,
            f"row {row}: the model answers {predictions[row]}, for which JSON has no number; ask"
            " with values nearer to those that it was trained with",
            row=row,
        ) from exc
    if len(encoded) > MAX_MESSAGE:
        without = len(encoded) - len(json.dumps(predictions))
        fitting = _fitting(predictions, MAX_MESSAGE - without)
        raise BadRequest(
            Code.TOO_LARGE,
            f"the answer to {len(predictions)} rows has {len(encoded)} bytes, a message carries"
            f" {MAX_MESSAGE}: the first {fitting} rows fit, ask for the others separately",
            row=fitting,
        )
    return encoded


def encode_refusal(request_id: str | None, bad: BadRequest) -> bytes:
    error = {"code": bad.code, "message": bad.message, "row": bad.row, "field": bad.field}
    addressed = {} if request_id is None else {"id": request_id}
    return json.dumps({**addressed, "error": error}).encode()


def encode_stats(request_id: str | None, stats: Mapping[str, Any]) -> bytes:
    addressed = {} if request_id is None else {"id": request_id}
    return json.dumps({**addressed, "stats": stats}).encode()


# A column's type, by XGBoost's name. Each value is sent as a number: true as 1, a category as its
# code.
_TYPES = {"int": "integer", "i": "boolean", "c": "category"}


def encode_description(request: Request, model: Model) -> bytes:
    """The model and its features from index `first` on, as many as a message carries.

    Raises BadRequest if there is no feature `first`.
    """
    features = [
        {"name": name, "type": _TYPES.get(kind, "number")}
        for name, kind in zip(model.feature_names, model.feature_types, strict=True)
    ]
    first = request.envelope.get("first", 0)
    if isinstance(first, float) and first.is_integer():
        first = int(first)  # The Java nucleus makes doubles of a JSON message's integers.
    if type(first) is not int or not 0 <= first < max(1, len(features)):
        raise BadRequest(
            Code.NOT_A_REQUEST,
            f"first is the place of a feature, 0 to {len(features) - 1}, found {display(first)}",
            field="first",
        )
    shown = features[first:]
    description: dict[str, Any] = {
        "model": model.id,
        "features": shown,
        "first": first,
        "next": None,  # The client's next `first`.
        "missing_allowed": model.missing_allowed,
        "outputs": model.outputs,  # The numbers in the answer to a row.
        "limits": {
            "request_bytes": MAX_REQUEST,
            "rows": most_rows(model.outputs),
            "answer_bytes": MAX_MESSAGE,
        },
    }
    addressed = {} if request.id is None else {"id": request.id}
    encoded = json.dumps({**addressed, "description": description}).encode()
    while len(encoded) > MAX_MESSAGE:
        if len(shown) == 1:
            raise BadRequest(
                Code.TOO_LARGE, f"no message carries the name of feature {first}", field="first"
            )
        # They shrink in proportion, so that a few turns are enough for any number of features.
        shown = shown[: max(1, len(shown) * MAX_MESSAGE // (len(encoded) + 1))]
        description |= {"features": shown, "next": first + len(shown)}
        encoded = json.dumps({**addressed, "description": description}).encode()
    return encoded


def encode_request(request_id: str, records: Sequence[Record]) -> bytes:
    return json.dumps(
        {"id": request_id, "body": json.dumps(records), "isBase64Encoded": False}
    ).encode()


def decode_reply(payload: bytes) -> Answer | Refusal | None:
    """A reply to a request with an id; None for every other message on the topic."""
    try:
        reply = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    match reply:
        case {
            "id": str(identity),
            "error": {
                "code": str(code),
                "message": str(message),
                "row": int() | None as row,
                "field": str() | None as field,
            },
        }:
            return Refusal(id=identity, code=code, message=message, row=row, field=field)
        case {"id": str(identity), "predictions": list(predictions), "model": str(model)} if all(
            is_prediction(prediction) for prediction in predictions
        ):
            return Answer(id=identity, predictions=predictions, model=model)
    return None


def batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    """The records in batches that fit into a message. Raises ValueError if a record doesn't."""
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
    envelope = parsed(payload, "the request")
    if not isinstance(envelope, dict):
        raise BadRequest(
            Code.NOT_A_REQUEST,
            'a request is an object {"body": "<JSON text of records>"}, found ' + display(envelope),
        )
    return envelope


def _identity(envelope: dict[str, Any]) -> str | None:
    found = envelope.get("id")
    if found is None or (isinstance(found, str) and 0 < len(found) <= MAX_ID):
        return found
    raise BadRequest(
        Code.BAD_ID,
        f"an id is a text of 1 to {MAX_ID} characters, found {display(found)}",
        field="id",
    )


def _bound(text: str | bytes, what: str) -> None:
    objects, lists = ("{", "[") if isinstance(text, str) else (b"{", b"[")
    openings = text.count(objects) + text.count(lists)  # type: ignore[arg-type]  # as text is
    if openings > MAX_OPENINGS:
        raise BadRequest(
            Code.TOO_LARGE,
            f"{what} has {openings} '{{' and '[', more than {MAX_OPENINGS}: send fewer rows, each"
            " a plain record",
        )


def read_json(text: str | bytes, what: str) -> Any:
    """The JSON of a text whose length was checked. Raises BadRequest."""
    try:
        return json.loads(text)  # NaN and Infinity pass here. The row's check names the place.
    except (ValueError, RecursionError) as exc:
        # It is a ValueError for invalid UTF-8 too, and for integers of thousands of digits.
        raise not_json(what, exc) from exc


def _body(envelope: Mapping[str, Any]) -> str:
    body, encoded = envelope.get("body"), envelope.get("isBase64Encoded", False)
    if not isinstance(body, str):
        found = display(body) if "body" in envelope else "none"
        raise BadRequest(
            Code.NOT_A_REQUEST, f"body is the JSON text of the records, found {found}", field="body"
        )
    if not isinstance(encoded, bool):
        raise BadRequest(
            Code.NOT_A_REQUEST,
            f"isBase64Encoded is true or false, found {display(encoded)}",
            field="isBase64Encoded",
        )
    if not encoded:
        return body
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise BadRequest(
            Code.NOT_BASE64, f"body is not base64, as isBase64Encoded says: {exc}", field="body"
        ) from exc
    try:
        # The same as in json.loads.
        return data.decode(json.detect_encoding(data), "surrogatepass")
    except ValueError as exc:
        raise not_json("body", exc) from exc


def _is_finite(prediction: Prediction) -> bool:
    numbers = prediction if isinstance(prediction, list) else [prediction]
    return all(map(math.isfinite, numbers))


def _fitting(predictions: Answers, room: int) -> int:
    """How many predictions from the first on fit into so many bytes."""
    used = len("[]")
    for count, prediction in enumerate(predictions):
        used += len(json.dumps(prediction)) + (len(", ") if count else 0)
        if used > room:
            return count
    return len(predictions)


def display(value: Any) -> str:
    """A value for an error message, cut short."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if type(value) is int and abs(value) > FLOAT32_MAX:
        return "an integer of many digits"  # Python may refuse to print it.
    return cut(json.dumps(value), 80)


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
