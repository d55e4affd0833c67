"""The wire contract: bytes in, requests and replies out. No socket, no clock, no model here.

    request   {"body": "<JSON text of records>", "isBase64Encoded": false, "id": "<optional>"}
    answer    [6.57, 4.86]      or, with an id,  {"id", "predictions": [6.57, 4.86], "model"}
    refusal   {"error": {…}}    or               {"id", "error": {…}}
    error     {"code", "message", "row", "field"}
    request   {"stats": true, "id": "<optional>"}            what the service has done so far
    answer    {"stats": {…}}    or, with an id,  {"id", "stats": {…}}
    request   {"describe": true, "first": 0, "id": "<optional>"}     what the service can be asked
    answer    {"description": {…}}  or, with an id,  {"id", "description": {…}}

A record has the model's features by name. A model of several outputs answers a row with a list.
Rows count from 0; `row` and `field` are null where a refusal isn't about one. A number is printed
as the float64 of the float32 that the forest summed up, in the shortest text that reads back to it.
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

# Nucleus Lite's packets end at 10,000 bytes, base64 and JSON around it included: 7,000 bytes of
# binary passed, 7,300 didn't, and it closes the connection on them (2.6.0, 2026-11-23). Kept on
# every runtime, so that what works on one device works on the next.
MAX_MESSAGE = 7_000
MAX_ROWS = MAX_MESSAGE // len("0.5, ")  # more can't be answered, however short the numbers
# The Java nucleus carries 24 MiB. Whoever takes requests refuses longer ones unread.
MAX_REQUEST = 256 * 1024
# A list or an object in another takes up to 52 times its text once it is parsed. Records have none
# inside; what is left is for brackets in the features' names. memory.py has the sum of all bounds.
MAX_OPENINGS = 4_096
MAX_ID = 128
MAX_NAMES = 200  # characters of feature names in a refusal, which has to fit into a message, too

_FINITE = json.JSONEncoder(allow_nan=False)  # json.dumps would make one for each answer

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
    """The peer's fault, told to the peer."""

    def __init__(
        self, code: Code, message: str, *, row: int | None = None, field: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.row = row
        self.field = field


class Wanted(Enum):
    """What a request asks for."""

    PREDICTIONS = auto()
    STATS = auto()
    DESCRIPTION = auto()


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request whose rows nobody has looked at; `id` is where its answer goes."""

    id: str | None
    wanted: Wanted
    envelope: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client gets for a request with an id."""

    id: str
    predictions: Answers
    model: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What a client gets instead of an answer."""

    id: str
    code: str
    message: str
    row: int | None
    field: str | None


def decode(payload: bytes) -> Request:
    """A request of at most MAX_REQUEST bytes; raises BadRequest, which then has no id to go to."""
    envelope = _envelope(payload)
    wanted = Wanted.PREDICTIONS
    if "body" not in envelope and envelope.get("stats") is True:
        wanted = Wanted.STATS
    elif "body" not in envelope and envelope.get("describe") is True:
        wanted = Wanted.DESCRIPTION
    return Request(id=_identity(envelope), wanted=wanted, envelope=envelope)


def records(request: Request) -> str:
    """The JSON text of its records, which nobody has looked at; raises BadRequest."""
    text = _body(request.envelope)
    _bound(text, "body")
    return text


def identity(payload: bytes) -> str | None:
    """The id of a request that nobody will look at any closer."""
    try:
        return _identity(_envelope(payload))
    except BadRequest:
        return None


def too_large(size: int) -> BadRequest:
    """The refusal of a request of so many bytes; without its id, as nobody reads that far."""
    return BadRequest(
        Code.TOO_LARGE, f"the request has {size} bytes, more than {MAX_REQUEST}: send fewer rows"
    )


def parsed(text: str | bytes, what: str) -> Any:
    """The JSON of a peer, in a bounded part of memory; raises BadRequest."""
    _bound(text, what)
    return read_json(text, what)


def not_json(what: str, exc: Exception) -> BadRequest:
    """The refusal of what nobody could read."""
    return BadRequest(Code.NOT_JSON, f"{what} is not JSON: {cut(str(exc), MAX_NAMES)}")


def encode_answer(request_id: str | None, predictions: Answers, model: str) -> bytes:
    """The answer's bytes; raises BadRequest for one that JSON or a message can't carry."""
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


# What a column holds, by XGBoost's word for it. Each is sent as a number: true as 1, a category as
# its code.
_TYPES = {"int": "integer", "i": "boolean", "c": "category"}


def encode_description(request: Request, model: Model) -> bytes:
    """The model and its features, from the one that `first` counts, as many as a message carries.

    Raises BadRequest for a `first` that there is no feature for.
    """
    features = [
        {"name": name, "type": _TYPES.get(kind, "number")}
        for name, kind in zip(model.feature_names, model.feature_types, strict=True)
    ]
    first = request.envelope.get("first", 0)
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
        "next": None,  # the `first` to go on with
        "missing_allowed": model.missing_allowed,
        "outputs": model.outputs,  # numbers in the answer to a row
        "limits": {"request_bytes": MAX_REQUEST, "rows": MAX_ROWS, "answer_bytes": MAX_MESSAGE},
    }
    addressed = {} if request.id is None else {"id": request.id}
    encoded = json.dumps({**addressed, "description": description}).encode()
    while len(encoded) > MAX_MESSAGE:
        # in proportion, so that a few turns are enough for any number of features
        shown = shown[: len(shown) * MAX_MESSAGE // (len(encoded) + 1)]
        if not shown:
            raise BadRequest(
                Code.TOO_LARGE, f"no message carries the name of feature {first}", field="first"
            )
        description |= {"features": shown, "next": first + len(shown)}
        encoded = json.dumps({**addressed, "description": description}).encode()
    return encoded


def encode_request(request_id: str, records: Sequence[Record]) -> bytes:
    return json.dumps(
        {"id": request_id, "body": json.dumps(records), "isBase64Encoded": False}
    ).encode()


def decode_reply(payload: bytes) -> Answer | Refusal | None:
    """A reply to a request with an id; None for whatever else is said on the topic."""
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
    """The JSON of a text that has been found short enough; raises BadRequest."""
    try:
        return json.loads(text)  # NaN and Infinity pass here: the row's check names where
    except (ValueError, RecursionError) as exc:
        # ValueError: also what isn't UTF-8, and integers of thousands of digits
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
        return data.decode(json.detect_encoding(data), "surrogatepass")  # as json.loads does it
    except ValueError as exc:
        raise not_json("body", exc) from exc


def _is_finite(prediction: Prediction) -> bool:
    numbers = prediction if isinstance(prediction, list) else [prediction]
    return all(map(math.isfinite, numbers))


def _fitting(predictions: Answers, room: int) -> int:
    """How many predictions, from the first, print into so many bytes."""
    used = len("[]")
    for count, prediction in enumerate(predictions):
        used += len(json.dumps(prediction)) + (len(", ") if count else 0)
        if used > room:
            return count
    return len(predictions)


def display(value: Any) -> str:
    """A value as the peer would recognise it, cut short."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if type(value) is int and abs(value) > FLOAT32_MAX:
        return "an integer of many digits"  # which Python may refuse to print
    return cut(json.dumps(value), 80)


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
