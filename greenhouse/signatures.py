"""Checks who speaks to a greenhouse: its owner has its key, and signs with it as AWS's clients do.

Every user of the machine and every page in a browser can reach loopback. So each request carries a
Signature Version 4, and the server computes it again with botocore's own signer:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html A request
that may come from a browser is refused, even with a signature.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from greenhouse.home import REGION
from infra.errors import told

# Any other name in Host comes from a page whose name was bound to loopback.
HOSTS = ("127.0.0.1", "localhost")
# The limit of a body that is part of the signature: IAM, IoT, ECR.
MAX_UNVERIFIED_BYTES = 16 * 1024 * 1024
CLOCK_SKEW = timedelta(minutes=15)  # AWS's own limit: an overheard request is of no use later.

_DATE = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[^/,\s]+)"
    r"/(?P<service>[^/,\s]+)/aws4_request,\s*SignedHeaders=(?P<headers>[^,\s]+),"
    r"\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_HASH = re.compile(r"[0-9a-f]{64}")
_UNHASHED = re.compile(r"UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+")  # Bodies for S3, as on AWS.
_GLOBAL = ("iam", "sts")  # Global, or asked in any region: the same account answers.
# Pages send these headers, AWS clients don't.
_BROWSERS = ("origin", "sec-fetch-site", "sec-fetch-mode")
_SIMPLE = ("text/plain", "multipart/form-data", "application/x-www-form-urlencoded")
"""What a page may send to another host without asking: https://fetch.spec.whatwg.org/#cors-safelisted-request-header"""

_WAY_OUT = (
    "This greenhouse answers its owner alone. Give the shell its key:"
    ' eval "$(python -m greenhouse env)"'
)


class Foreign(Exception):
    """The request isn't the owner's. The message says what is wrong with it."""

    def __init__(self, message: str, service: str = "") -> None:
        super().__init__(message)
        self.service = service


class NoKey(Exception):
    """The environment has no key for signing or checking."""


def own_key(environment: Mapping[str, str]) -> Credentials:
    """The key pair of a process that greenhouse has started. Raises NoKey."""
    try:
        return Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    except KeyError as missing:
        raise NoKey(
            told(
                f"{missing.args[0]} is not set, so requests can't be signed.",
                "Give the shell this greenhouse's key:",
                'eval "$(python -m greenhouse env)"',
            )
        ) from missing


def sign(
    credentials: Credentials,
    *,
    region: str,
    service: str,
    method: str,
    url: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers of a signed request, for a client that isn't botocore."""
    request = AWSRequest(method, url, headers=dict(headers or {}), data=body)
    SigV4Auth(credentials, service, region).add_auth(request)
    return dict(request.headers.items())


def refuse_browsers(headers: Headers, *, forms: bool) -> None:
    """Raise Foreign for a request that may come from a page in a browser.

    `forms` admits the content types that AWS clients use, although a page may also send them
    unasked.
    """
    try:
        host = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:  # A bracket has no partner.
        host = None
    if host not in HOSTS:
        raise Foreign(f"Host is {host!r}, not one of {', '.join(HOSTS)}. {_WAY_OUT}")
    for name in _BROWSERS:
        if name in headers:
            raise Foreign(f"a browser's page sent this: it has the header {name}. {_WAY_OUT}")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not forms and kind in _SIMPLE:
        raise Foreign(f"Content-Type is {kind}, but this API speaks JSON. {_WAY_OUT}")


class Guard:
    """An ASGI application that passes the owner's requests to another application."""

    def __init__(
        self, app: ASGIApp, credentials: Credentials, *, health: str, forms: bool = False
    ) -> None:
        """`health` is the only path that everybody on the machine may read."""
        self._app, self._credentials = app, credentials
        self._health, self._forms = health, forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # It is a websocket, and nothing of ours uses them.
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            refuse_browsers(Headers(scope=scope), forms=self._forms)
            receive = await self.admitted(scope, receive)
        except Foreign as foreign:
            await refusal(foreign)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def admitted(self, scope: Scope, receive: Receive) -> Receive:
        """The `receive` function for the application. Raises Foreign."""
        if scope["method"] == "GET" and scope["path"] == self._health:
            return receive
        return await _verified(scope, receive, self._credentials)


async def _verified(scope: Scope, receive: Receive, credentials: Credentials) -> Receive:
    """Pass the request on if its signature is right. The body is read before it is trusted."""
    headers = Headers(scope=scope)
    found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if not found:
        raise Foreign(f"the request has no signature (AWS4-HMAC-SHA256). {_WAY_OUT}")
    service, names = found["service"], found["headers"].split(";")
    if found["key"] != credentials.access_key:
        raise Foreign(f"access key {found['key']} is not this greenhouse's. {_WAY_OUT}", service)
    stamp = _fresh(headers, found["day"], service)
    if not {"host", "x-amz-date"} <= {*names}:
        raise Foreign("Host and X-Amz-Date have to be signed.", service)
    said = headers.get("x-amz-content-sha256", "") if "x-amz-content-sha256" in names else ""
    body = b"" if said else await _body(receive, service, most=MAX_UNVERIFIED_BYTES)
    query = scope["query_string"].decode("ascii")
    path = scope["raw_path"].decode("ascii") + (f"?{query}" if query else "")
    request = AWSRequest(
        scope["method"],
        f"http://{headers['host']}{path}",
        headers={name: ",".join(headers.getlist(name)) for name in names},
        data=body,
    )
    request.context["timestamp"] = stamp
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(credentials, service, found["region"])
    right = signer.signature(
        signer.string_to_sign(request, signer.canonical_request(request)), request
    )
    if not hmac.compare_digest(right, found["signature"]):
        raise Foreign(f"the request's signature is wrong. {_WAY_OUT}", service)
    if found["region"] != REGION and service not in _GLOBAL:
        raise Foreign(
            f"the request is signed for {found['region']}, and this greenhouse is in {REGION}."
            f" On AWS that region would have none of it: pulumi config set aws:region {REGION}",
            service,
        )
    if said:
        if service == "s3" and _UNHASHED.fullmatch(said):
            return receive
        body = await _body(receive, service)
        if not _HASH.fullmatch(said) or hashlib.sha256(body).hexdigest() != said:
            raise Foreign("the body is not the one that was signed.", service)
    return replayed(body, receive)


def _fresh(headers: Headers, day: str, service: str) -> str:
    """Return the time in X-Amz-Date, which must be close to now."""
    stamp = headers.get("x-amz-date", "")
    try:
        signed = datetime.strptime(stamp, _DATE).replace(tzinfo=UTC)
    except ValueError as error:
        raise Foreign(f"X-Amz-Date is {stamp!r}, not like 20261130T080000Z.", service) from error
    if not stamp.startswith(day) or abs(datetime.now(UTC) - signed) > CLOCK_SKEW:
        raise Foreign(f"the request was signed at {stamp}, too far from now.", service)
    return stamp


async def _body(receive: Receive, service: str, *, most: float = float("inf")) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Foreign("the connection was closed in the middle of the request.", service)
        body += message.get("body", b"")
        if len(body) > most:
            raise Foreign(f"the body has more than {most} bytes and no hash.", service)
        if not message.get("more_body", False):
            return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` function that repeats a body that was read once."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def refusal(foreign: Foreign) -> Response:
    """Answer 403 in the words of the service that was asked, so that its client can show them."""
    text = str(foreign)
    code = "SignatureDoesNotMatch"
    xml = f"<Code>{code}</Code><Message>{escape(text)}</Message>"
    if foreign.service == "s3":
        return Response(f"<Error>{xml}</Error>", 403, media_type="application/xml")
    if foreign.service in ("iam", "sts"):
        body = f"<ErrorResponse><Error>{xml}</Error></ErrorResponse>"
        return Response(body, 403, media_type="text/xml")
    code = "InvalidSignatureException"
    return JSONResponse({"__type": code, "message": text}, 403, headers={"x-amzn-errortype": code})
