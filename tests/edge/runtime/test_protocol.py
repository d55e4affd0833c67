"""The wire contract as an application on the device sees it: bytes in, bytes out."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.inference.model import Model
from edge.inference.protocol import (
    MAX_MESSAGE,
    MAX_REQUEST,
    MAX_ROWS,
    Answer,
    BadRequest,
    Code,
    Refusal,
    Wanted,
    batches,
    decode,
    decode_reply,
    encode_answer,
    encode_description,
    encode_refusal,
    encode_request,
    identity,
    most_rows,
)
from edge.inference.protocol import records as records_of
from edge.inference.rows import rows as values_of

FEATURES = ("pH", "alcohol")
ROW = {"pH": 3.2, "alcohol": 11}


def asking(body: Any, **envelope: Any) -> bytes:
    return json.dumps({"body": json.dumps(body), **envelope}).encode()


def read(payload: bytes, features: Sequence[str], *, missing_allowed: bool) -> list[list[float]]:
    text = records_of(decode(payload))
    return list(values_of(text, features, missing_allowed=missing_allowed, most=MAX_ROWS))


def refused(
    payload: bytes, features: Sequence[str] = FEATURES, *, missing_allowed: bool = False
) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read(payload, features, missing_allowed=missing_allowed)
    refusal = encode_refusal(identity(payload), caught.value)
    assert len(refusal) <= MAX_MESSAGE, "a refusal has to arrive as well"
    return caught.value


def rows(payload: bytes, *, missing_allowed: bool = False) -> list[list[float]]:
    return read(payload, FEATURES, missing_allowed=missing_allowed)


def test_a_row_is_read_in_the_models_order_for_any_order_of_the_record() -> None:
    assert rows(asking([{"alcohol": 11, "pH": 3.2}])) == [[3.2, 11]]


def test_a_base64_body_says_the_same_as_a_plain_one() -> None:
    body = base64.b64encode(json.dumps([ROW]).encode()).decode()
    payload = json.dumps({"body": body, "isBase64Encoded": True, "id": "a"}).encode()
    assert rows(payload) == rows(asking([ROW], id="a"))
    assert decode(payload).id == "a"


def test_additions_of_a_gateway_to_the_envelope_are_accepted() -> None:
    payload = asking([ROW], isBase64Encoded=False, path="/", headers={})
    assert rows(payload) == [[3.2, 11]]


@pytest.mark.parametrize(
    ("payload", "code", "row", "field"),
    [
        (b"", Code.NOT_JSON, None, None),
        (b"\xff{}", Code.NOT_JSON, None, None),
        (b"[" * 4_000, Code.NOT_JSON, None, None),
        (b"[" * 100_000, Code.TOO_LARGE, None, None),
        (b"7" * 5_000, Code.NOT_JSON, None, None),  # More digits than Python reads.
        (b"[]", Code.NOT_A_REQUEST, None, None),
        (b"null", Code.NOT_A_REQUEST, None, None),
        (b"{}", Code.NOT_A_REQUEST, None, "body"),
        (b'{"body": [{"pH": 1, "alcohol": 2}]}', Code.NOT_A_REQUEST, None, "body"),
        (asking([ROW], isBase64Encoded="no"), Code.NOT_A_REQUEST, None, "isBase64Encoded"),
        (b'{"body": "%%%", "isBase64Encoded": true}', Code.NOT_BASE64, None, "body"),
        (b'{"body": "\xc3\xa4", "isBase64Encoded": true}', Code.NOT_BASE64, None, "body"),
        (b'{"body": "[{]"}', Code.NOT_JSON, None, None),
        (json.dumps({"body": "[" * 4_000}).encode(), Code.NOT_JSON, None, None),
        (asking([{"{": {"[": number}} for number in range(1_200)]), Code.TOO_LARGE, None, None),
        (asking(ROW), Code.NOT_RECORDS, None, "body"),
        (asking([ROW, 7]), Code.NOT_RECORDS, 1, None),
        (asking([{}] * (MAX_ROWS + 1)), Code.TOO_LARGE, MAX_ROWS, None),
        (asking([ROW, {"pH": 1}]), Code.MISSING_FEATURE, 1, "alcohol"),
        (asking([{**ROW, "pH": None}]), Code.MISSING_FEATURE, 0, "pH"),
        (asking([{**ROW, "color": 1}]), Code.UNKNOWN_FEATURE, 0, "color"),
        (asking([{**ROW, "pH": "3.2"}]), Code.NOT_A_NUMBER, 0, "pH"),
        (asking([{**ROW, "pH": True}]), Code.NOT_A_NUMBER, 0, "pH"),
        (asking([{**ROW, "pH": [3.2]}]), Code.NOT_A_NUMBER, 0, "pH"),
        (asking([{**ROW, "pH": math.nan}]), Code.OUT_OF_RANGE, 0, "pH"),
        (asking([{**ROW, "pH": -math.inf}]), Code.OUT_OF_RANGE, 0, "pH"),
        (asking([{**ROW, "alcohol": 1e39}]), Code.OUT_OF_RANGE, 0, "alcohol"),
        (asking([{**ROW, "alcohol": 10**400}]), Code.OUT_OF_RANGE, 0, "alcohol"),
        (asking([ROW], id=""), Code.BAD_ID, None, "id"),
        (asking([ROW], id=7), Code.BAD_ID, None, "id"),
        (asking([ROW], id="x" * 129), Code.BAD_ID, None, "id"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_a_bad_request_is_refused_by_what_is_wrong_and_where(
    payload: bytes, code: Code, row: int | None, field: str | None
) -> None:
    bad = refused(payload)
    assert (bad.code, bad.row, bad.field) == (code, row, field), bad.message


@pytest.mark.parametrize(
    ("payload", "found", "expected"),
    [
        (b"[1, 2]", "a list of 2", "an object"),
        (b'{"id": "a"}', "found none", "body is the JSON text of the records"),
        (b'{"body": 7}', "found 7", "body is the JSON text of the records"),
        (asking(7), "found 7", "a list of records"),
        (asking([ROW, "x"]), 'row 1 is a record, feature name to number; found "x"', "record"),
        (asking([ROW], isBase64Encoded="no"), 'found "no"', "true or false"),
        (asking([ROW], id=[]), "found a list of 0", "1 to 128 characters"),
        (asking([{"pH": 1}]), "row 0 lacks 'alcohol'", "set_attr(missing_values='allowed')"),
        (asking([{**ROW, "pH": "3.2"}]), "row 0 has \"3.2\" for 'pH'", "a number"),
        (asking([{**ROW, "pH": 1e39}]), "row 0: 'pH'", "at most 3.4028235e+38, found 1e+39"),
        (asking([{**ROW, "ph": 3}]), 'row 0: the model has no feature "ph"', "it has pH, alcohol"),
        (asking([{}] * (MAX_ROWS + 1)), f"{MAX_ROWS + 1} rows", f"at most {MAX_ROWS}"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_a_refusal_says_what_was_found_and_what_was_expected(
    payload: bytes, found: str, expected: str
) -> None:
    message = refused(payload).message
    assert found in message
    assert expected in message


def test_a_refusal_carries_the_id_so_that_its_asker_stops_waiting() -> None:
    bad = refused(asking([{}], id="a-1"))
    assert json.loads(encode_refusal("a-1", bad)) == {
        "id": "a-1",
        "error": {
            "code": "missing-feature",
            "message": bad.message,
            "row": 0,
            "field": "pH",
        },
    }
    assert set(json.loads(encode_refusal(None, bad))) == {"error"}


def test_a_request_without_a_body_may_ask_for_the_stats() -> None:
    for payload, request_id in ((b'{"stats": true}', None), (b'{"id": "a", "stats": true}', "a")):
        read = decode(payload)
        assert (read.id, read.wanted) == (request_id, Wanted.STATS)
    both = decode(asking([ROW], stats=True))
    assert both.wanted is Wanted.PREDICTIONS, "an answer of the old system keeps its meaning"
    for said in (b'{"stats": 1}', b'{"stats": "yes"}', b'{"stats": false}'):
        assert refused(said).code is Code.NOT_A_REQUEST


def described(
    payload: bytes, features: Sequence[str], types: Sequence[str] = (), outputs: int = 1
) -> dict[str, Any]:
    model = Model(
        id="m",
        feature_names=tuple(features),
        feature_types=tuple(types or ["float"] * len(features)),
        missing_allowed=True,
        outputs=outputs,
        trees=1,
    )
    said = encode_description(decode(payload), model)
    assert len(said) <= MAX_MESSAGE, "Lite carries no more"
    told: dict[str, Any] = json.loads(said)["description"]
    return told


def test_a_client_learns_what_it_can_ask_and_within_which_limits() -> None:
    told = described(b'{"describe": true}', FEATURES)
    assert told["features"] == [{"name": name, "type": "number"} for name in FEATURES]
    assert (told["model"], told["missing_allowed"], told["next"]) == ("m", True, None)
    assert told["limits"] == {
        "request_bytes": MAX_REQUEST,
        "rows": MAX_ROWS,
        "answer_bytes": MAX_MESSAGE,
    }
    for first in (2, -1, "0", None, True):
        with pytest.raises(BadRequest) as caught:
            described(json.dumps({"describe": True, "first": first}).encode(), FEATURES)
        assert (caught.value.code, caught.value.field) == (Code.NOT_A_REQUEST, "first")
    kinds = ("float", "q", "int", "i", "c")
    told = described(b'{"describe": true}', "abcde", kinds, outputs=3)
    assert [one["type"] for one in told["features"]] == [
        "number",
        "number",
        "integer",
        "boolean",
        "category",
    ]
    assert told["outputs"] == 3, "a client of softprob must expect lists"
    assert told["limits"]["rows"] == most_rows(3) < MAX_ROWS, "the service takes no more"
    asked_for_rows = decode(asking([ROW], describe=True))
    assert asked_for_rows.wanted is Wanted.PREDICTIONS


@given(names=st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=300))
def test_all_features_are_told_however_many_they_are(names: list[str]) -> None:
    told: list[str] = []
    following: int | None = 0
    while following is not None:
        said = described(json.dumps({"describe": True, "first": following}).encode(), names)
        told += [feature["name"] for feature in said["features"]]
        following = said["next"]
    assert told == names


def test_a_name_that_no_message_carries_is_refused() -> None:
    with pytest.raises(BadRequest, match="the name of feature 1"):
        described(b'{"describe": true, "first": 1}', ("a", "x" * MAX_MESSAGE))


def test_a_client_may_name_a_feature_s_place_by_the_double_that_java_makes_of_it() -> None:
    told = described(b'{"describe": true, "first": 1.0}', FEATURES)
    assert json.dumps(told["first"]) == "1"
    assert [feature["name"] for feature in told["features"]] == ["alcohol"]
    for first in (0.5, 2.0, math.inf, math.nan, 1e300):
        with pytest.raises(BadRequest, match="first is the place of a feature"):
            described(json.dumps({"describe": True, "first": first}).encode(), FEATURES)


def test_a_name_is_told_however_long_the_next_ones_are() -> None:
    told = described(b'{"describe": true}', ("a", *["x" * 3 * MAX_MESSAGE] * 9))
    assert (told["features"], told["next"]) == ([{"name": "a", "type": "number"}], 1)


def test_missing_values_pass_only_where_the_model_was_trained_with_them() -> None:
    for record in ({"alcohol": 11}, {"alcohol": 11, "pH": None}):
        ((ph, alcohol),) = rows(asking([record]), missing_allowed=True)
        assert math.isnan(ph)
        assert alcohol == 11
        assert refused(asking([record])).code is Code.MISSING_FEATURE
    bad = refused(asking([{"alcohol": 11, "ph": 3}]), missing_allowed=True)
    assert (bad.code, bad.field) == (Code.UNKNOWN_FEATURE, "ph"), "a typo is not a missing value"


def test_nan_is_refused_and_null_named_where_a_value_may_be_missing() -> None:
    """Python's json writes NaN for a missing value."""
    payload = asking([{**ROW, "pH": math.nan}])
    allowed, refused_too = refused(payload, missing_allowed=True), refused(payload)
    assert "'pH' is NaN, which JSON doesn't have" in refused_too.message
    assert "write null" in allowed.message
    assert "write null" not in refused_too.message, "this model takes none"
    for bad in (allowed, refused_too):
        assert (bad.code, bad.row, bad.field) == (Code.OUT_OF_RANGE, 0, "pH")
    assert "found Infinity" in refused(asking([{**ROW, "pH": math.inf}])).message


def test_the_refusal_of_the_longest_names_still_fits_into_a_message() -> None:
    long = "\U0001f377" * 5_000
    bad = refused(asking([{**ROW, long: 1}], id="\U0001f377" * 128))
    assert bad.code is Code.UNKNOWN_FEATURE
    bad = refused(asking([{}], id="\U0001f377" * 128), (long,))
    assert bad.code is Code.MISSING_FEATURE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(FEATURES), inner),
)
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "isBase64Encoded": st.booleans() | JSON,
        "body": JSON
        | JSON.map(json.dumps)
        | JSON.map(lambda body: base64.b64encode(json.dumps(body).encode()).decode()),
    },
)


# A busy machine makes strategies slow, which says nothing about the protocol.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    payload=st.binary()
    | JSON.map(json.dumps).map(str.encode)
    | ENVELOPES.map(json.dumps).map(str.encode),
    missing_allowed=st.booleans(),
)
def test_any_bytes_are_either_a_request_or_one_refusal_that_fits(
    payload: bytes, missing_allowed: bool
) -> None:
    asker, values, refusal = None, list[list[float]](), b""
    try:
        request = decode(payload)
        asker = request.id
        text = records_of(request)
        values = list(values_of(text, FEATURES, missing_allowed=missing_allowed, most=MAX_ROWS))
    except BadRequest as bad:
        refusal = encode_refusal(asker, bad)
    assert all(len(row) == len(FEATURES) for row in values)
    assert len(refusal) <= MAX_MESSAGE
    assert asker == identity(payload)


FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(predictions=st.lists(FLOAT32, max_size=50))
def test_predictions_read_back_as_the_same_float32s(predictions: list[float]) -> None:
    plain = json.loads(encode_answer(None, predictions, "m"))
    assert [struct.pack("f", value) for value in plain] == [
        struct.pack("f", value) for value in predictions
    ]
    assert decode_reply(encode_answer("a", predictions, "m")) == Answer(
        id="a", predictions=predictions, model="m"
    )


def test_the_answer_without_an_id_is_the_list_that_the_old_system_sent() -> None:
    answer = encode_answer(None, [6.573914051055908, 4.869720935821533], "m")
    assert answer == b"[6.573914051055908, 4.869720935821533]"


def test_a_number_that_json_has_no_word_for_is_never_sent() -> None:
    for number in (math.inf, -math.inf, math.nan):
        with pytest.raises(BadRequest, match=f"row 1: the model answers {number}") as caught:
            encode_answer("a", [1.0, number], "m")
        assert (caught.value.code, caught.value.row) == (Code.NOT_FINITE, 1), (
            "its asker's, not ours"
        )


@given(prediction=FLOAT32, request_id=st.none() | st.text(min_size=1, max_size=128))
def test_an_answer_too_large_names_how_many_rows_fit(
    prediction: float, request_id: str | None
) -> None:
    with pytest.raises(BadRequest) as caught:
        encode_answer(request_id, [prediction] * (MAX_MESSAGE // 3), "0123456789ab")
    fitting = caught.value.row
    assert fitting
    assert f"the first {fitting} rows fit" in caught.value.message
    encode_answer(request_id, [prediction] * fitting, "0123456789ab")
    with pytest.raises(BadRequest):
        encode_answer(request_id, [prediction] * (fitting + 1), "0123456789ab")


@given(count=st.integers(1, 200))
def test_a_client_sends_every_record_once_in_order_in_messages_that_lite_carries(
    count: int,
) -> None:
    records = [{"pH": 3.0, "alcohol": float(number)} for number in range(count)]
    runs = list(batches(records))
    assert [record for run in runs for record in run] == records
    assert all(len(encode_request("x" * 128, run)) <= MAX_MESSAGE for run in runs)


def test_a_record_too_large_for_lite_is_named() -> None:
    with pytest.raises(ValueError, match="row 1 "):
        list(batches([ROW, {"x" * MAX_MESSAGE: 1}]))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[6.5]",
        b'{"error": {"code": "busy", "message": "later"}}',
        b'{"id": [], "predictions": [], "model": "m"}',
        b'{"id": "a", "predictions": ["6.5"], "model": "m"}',
        b'{"id": "a", "error": "no"}',
        b"[" * 100_000,
    ],
    ids=lambda said: str(said[:40]),
)
def test_messages_of_others_on_the_answers_topic_are_not_taken_for_replies(said: bytes) -> None:
    assert decode_reply(said) is None


def test_a_refusal_reads_back_as_what_was_refused() -> None:
    bad = refused(asking([{**ROW, "pH": "x"}], id="a"))
    assert decode_reply(encode_refusal("a", bad)) == Refusal(
        id="a", code="not-a-number", message=bad.message, row=0, field="pH"
    )
