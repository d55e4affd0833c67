"""The wire contract, as bytes in and values out: no socket, no model, no clock.

A request is `{"body": "<JSON text of records>", "isBase64Encoded": false}`, a record has the
model's features by name. Its answer is the list of predictions; for whoever asks with an `"id"`
it is `{"id", "predictions", "model"}`. What can't be answered is refused with
`{"error": {"code", "message", "row", "field"}}` and the id, if there was one to read.

Two rules decide most cases below. A number that float32 can't hold is refused, never bent. And
nothing that a peer sends may cost more than its own request: sizes, depth and names are bounded.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from inference.settings import MAX_ID_LENGTH, MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES, MAX_ROWS

LARGEST = 3.4028234663852886e38  # of float32
_SHOWN = 64  # characters of a peer's own words in a refusal

Id = str | int


class Code(StrEnum):
    """Why a request was refused."""

    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    BAD_REQUEST = "bad_request"
    BAD_ID = "bad_id"
    BAD_BASE64 = "bad_base64"
    NOT_RECORDS = "not_records"
    TOO_MANY_ROWS = "too_many_rows"
    MISSING_FEATURE = "missing_feature"
    UNKNOWN_FEATURE = "unknown_feature"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    ANSWER_TOO_LARGE = "answer_too_large"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"


class BadRequest(Exception):
    """The peer's fault, in words that name the row (from 0) and the field."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        row: int | None = None,
        field: str | None = None,
        id: Id | None = None,  # noqa: A002 – the word on the wire
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.row = row
        self.field = field
        self.id = id


@dataclass(frozen=True)
class Request:
    """Rows in the order of the model's features; without an id the answer is the bare list."""

    id: Id | None
    rows: list[list[float]]


@dataclass(frozen=True)
class Answer:
    """What a client reads: predictions and the model that made them."""

    id: Id
    predictions: list[float]
    model: str


@dataclass(frozen=True)
class Refusal:
    """What a client reads where it gets no answer."""

    id: Id | None
    code: str
    message: str


def decode(payload: bytes, features: Sequence[str]) -> Request:
    """Read one request for a model with these features; raises BadRequest."""
    if len(payload) > MAX_REQUEST_BYTES:
        raise BadRequest(
            Code.TOO_LARGE,
            f"the request has {len(payload)} bytes, at most {MAX_REQUEST_BYTES} are read",
        )
    envelope = _json(payload, "the request")
    if not isinstance(envelope, dict):
        raise BadRequest(
            Code.BAD_REQUEST, f'the request is {_kind(envelope)}; expected {{"body": "…"}}'
        )
    asked = _id(envelope)
    try:
        return Request(asked, _rows(_json(_body(envelope), "the body"), features))
    except BadRequest as refused:
        refused.id = asked
        raise


def identify(payload: bytes) -> Id | None:
    """The id of a request that will be refused unread, if it has one."""
    try:
        envelope = _json(payload, "the request")
        return _id(envelope) if isinstance(envelope, dict) else None
    except BadRequest:
        return None


def encode_answer(asked: Id | None, predictions: Sequence[float], model: str) -> bytes:
    """The answer's bytes; raises BadRequest where one message can't carry them.

    Predictions are float64s of float32s and are printed so that they read back as the same ones.
    """
    texts = [_number(prediction) for prediction in predictions]
    head, tail = "[", "]"
    if asked is not None:
        head = f'{{"id": {json.dumps(asked)}, "predictions": ['
        tail = f'], "model": {json.dumps(model)}}}'
    answer = (head + ", ".join(texts) + tail).encode()
    if len(answer) <= MAX_MESSAGE_BYTES:
        return answer
    fit, room = 0, MAX_MESSAGE_BYTES - len(head) - len(tail) + 2  # the last has no ", "
    for text in texts:
        room -= len(text) + 2
        if room < 0:
            break
        fit += 1
    raise BadRequest(
        Code.ANSWER_TOO_LARGE,
        f"the answer to {len(texts)} rows has {len(answer)} bytes, a message carries"
        f" {MAX_MESSAGE_BYTES}: the first {fit} rows fit, ask for the others separately",
        row=fit,
        id=asked,
    )


def encode_refusal(refused: BadRequest) -> bytes:
    error = {
        "code": refused.code,
        "message": refused.message,
        "row": refused.row,
        "field": refused.field,
    }
    whole = {"error": error} if refused.id is None else {"id": refused.id, "error": error}
    return json.dumps(whole).encode()


def encode_request(asked: Id, records: Sequence[dict[str, float]]) -> bytes:
    """What a client sends."""
    return json.dumps({"id": asked, "body": json.dumps(records), "isBase64Encoded": False}).encode()


def decode_reply(payload: bytes) -> Answer | Refusal | None:
    """What a client receives; None where it is for somebody else, who asked without an id."""
    try:
        reply = _json(payload, "the reply")
    except BadRequest:
        return None
    match reply:
        case {"id": str() | int() as asked, "predictions": list(values), "model": str(model)}:
            return Answer(asked, values, model)
        case {"id": str() | int() as asked, "error": {"code": str(code), "message": str(message)}}:
            return Refusal(asked, code, message)
    return None


def _json(text: bytes, what: str) -> Any:
    try:
        return json.loads(text.decode())
    except RecursionError:
        raise BadRequest(Code.TOO_DEEP, f"{what} is nested too deep") from None
    except UnicodeDecodeError as exc:
        raise BadRequest(
            Code.NOT_JSON, f"{what} is not JSON: byte {exc.start} is not UTF-8"
        ) from None
    except ValueError as exc:  # also integers of more than 4,300 digits
        raise BadRequest(Code.NOT_JSON, f"{what} is not JSON: {_short(str(exc))}") from None


def _id(envelope: dict[str, Any]) -> Id | None:
    asked = envelope.get("id")
    if asked is None or (isinstance(asked, str) and len(asked) <= MAX_ID_LENGTH):
        return asked
    if isinstance(asked, int) and not isinstance(asked, bool) and abs(asked) < 2**53:
        return asked
    raise BadRequest(
        Code.BAD_ID,
        f"the id is {_kind(asked)}; expected a string of at most {MAX_ID_LENGTH} characters,"
        " or an integer below 2^53",
        field="id",
    )


def _body(envelope: dict[str, Any]) -> bytes:
    body = envelope.get("body")
    if not isinstance(body, str):
        found = "missing" if "body" not in envelope else _kind(body)
        raise BadRequest(
            Code.BAD_REQUEST,
            f"the body is {found}; expected a string with the JSON text of records",
            field="body",
        )
    encoded = envelope.get("isBase64Encoded", False)
    if not isinstance(encoded, bool):
        raise BadRequest(
            Code.BAD_REQUEST,
            f"isBase64Encoded is {_kind(encoded)}; expected true or false",
            field="isBase64Encoded",
        )
    if not encoded:
        return body.encode(errors="replace")  # a lone surrogate stays a wrong character
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as exc:
        raise BadRequest(
            Code.BAD_BASE64, f"the body is not base64: {_short(str(exc))}", field="body"
        ) from None


def _rows(records: Any, features: Sequence[str]) -> list[list[float]]:
    if not isinstance(records, list):
        raise BadRequest(
            Code.NOT_RECORDS, f"the body is {_kind(records)}; expected a list of records"
        )
    if len(records) > MAX_ROWS:
        raise BadRequest(
            Code.TOO_MANY_ROWS,
            f"the body has {len(records)} rows, at most {MAX_ROWS} are answered at once",
            row=MAX_ROWS,
        )
    return [_row(number, record, features) for number, record in enumerate(records)]


def _row(number: int, record: Any, features: Sequence[str]) -> list[float]:
    if not isinstance(record, dict):
        raise BadRequest(
            Code.NOT_RECORDS,
            f"row {number} is {_kind(record)}; expected an object with the features by name",
            row=number,
        )
    row = []
    for feature in features:
        value = record.get(feature)
        if value.__class__ is not float and value.__class__ is not int:
            _refuse_value(number, feature, record)
        if not -LARGEST <= value <= LARGEST:  # also NaN, which compares with nothing
            _refuse_number(number, feature, value)
        row.append(float(value))
    if len(record) != len(features):
        unknown = next(name for name in record if name not in features)
        raise BadRequest(
            Code.UNKNOWN_FEATURE,
            f"row {number} has {_short(unknown)!r}, which the model doesn't know; it knows"
            f" {len(features)} features",
            row=number,
            field=_short(unknown),
        )
    return row


def _refuse_value(number: int, feature: str, record: dict[str, Any]) -> NoReturn:
    if feature not in record:
        raise BadRequest(
            Code.MISSING_FEATURE,
            f"row {number} has no {feature!r}; expected a number",
            row=number,
            field=feature,
        )
    raise BadRequest(
        Code.WRONG_TYPE,
        f"row {number}, {feature!r} is {_kind(record[feature])}; expected a number",
        row=number,
        field=feature,
    )


def _refuse_number(number: int, feature: str, value: float) -> NoReturn:
    infinite = isinstance(value, float) and (value != value or abs(value) == float("inf"))  # noqa: PLR0124
    raise BadRequest(
        Code.NOT_FINITE if infinite else Code.OUT_OF_RANGE,
        f"row {number}, {feature!r} is {'not a finite number' if infinite else 'beyond float32'};"
        f" expected a number between -{LARGEST} and {LARGEST}",
        row=number,
        field=feature,
    )


def _number(prediction: float) -> str:
    if not -LARGEST <= prediction <= LARGEST:
        raise ValueError(f"the model answered {prediction}, which JSON can't carry")
    return repr(prediction)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the string {_short(value)!r}"
        case int() | float():
            return "a number"
        case list():
            return "a list"
    return "an object"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
