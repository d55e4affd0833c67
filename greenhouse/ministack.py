"""MiniStack behind our signature check: `python -m greenhouse.ministack`.

MiniStack answers everybody, and is configured by its own environment variables. Here its API checks
signatures (`signatures`). That happens in the same process, so there is no second hop. Its Docker
registry is the exception, as Docker's clients don't sign:

* A push needs the login from ECR's GetAuthorizationToken, and that call is signed.
* A pull needs no login: what is in an image isn't secret, and a device pulls it by its digest. The
  device itself checks its role before it pulls (`device.downloads.docker`).

This module also serves the download of a layer: MiniStack would name AWS's own address for it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
import time
from base64 import b64encode

from botocore.credentials import Credentials
from ministack import app as ministack
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from greenhouse.home import ACCOUNT, REGION
from greenhouse.signatures import Foreign, Guard, NoKey, own_key, refusal, refuse_browsers, replayed

_ECR = "AmazonEC2ContainerRegistry_V20150921."
_TOKEN = f"{_ECR}GetAuthorizationToken"
_LAYER = f"{_ECR}GetDownloadUrlForLayer"
_SCAN = f"{_ECR}DescribeImageScanFindings"
_REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
_TOKEN_SECONDS = 12 * 3600  # ECR names this time. A greenhouse's login lasts as long as its key.
_READS = ("GET", "HEAD")
_TOKENS = "/v2/token"  # At this path a registry's client exchanges a login for a token.
# MiniStack would hand out keys for which this greenhouse can check no signature.
_NO_ROLES = (
    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>greenhouse has no roles to assume."
    " On this stack work without one: pulumi config rm aws:assumeRoles</Message></Error>"
    "</ErrorResponse>"
)
_PULL = b"pull"  # The token of a client without a login. It is no secret.


class Front:
    """MiniStack for its owner, and MiniStack's registry."""

    def __init__(self, app: ASGIApp, credentials: Credentials) -> None:
        self._app = app
        secret = str(credentials.secret_key).encode()
        # The login doesn't reveal the key: Pulumi's state and Docker's settings keep the login.
        self._password = hmac.new(secret, b"docker login", hashlib.sha256).hexdigest().encode()
        self._signed = Guard(self._owners, credentials, health="/_ministack/health", forms=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["path"] + "/").startswith("/v2/"):
            await self._registry(scope, receive, send)
        else:
            await self._signed(scope, receive, send)

    async def _owners(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = Headers(scope=scope).get("x-amz-target") if scope["type"] == "http" else None
        if target == _TOKEN:
            await self._login()(scope, receive, send)
        # There is no scanner here, so the answer is ECR's for an image without a scan.
        elif target == _SCAN:
            error = {"__type": "ScanNotFoundException", "message": "greenhouse scans no image"}
            await JSONResponse(error, 400)(scope, receive, send)
        elif target == _LAYER:
            here = f"http://{Headers(scope=scope)['host']}/"
            await self._app(scope, receive, _rewritten(send, f"https://{_REGISTRY}/", here))
        elif scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == "/":
            await self._asked(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _asked(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The operation of a request without a path of its own, as to STS, IAM and others."""
        body = await Request(scope, receive).body()
        if body.startswith(b"Action=AssumeRole"):
            await Response(_NO_ROLES, 403, media_type="text/xml")(scope, receive, send)
        else:
            await self._app(scope, replayed(body, receive), send)

    def _login(self) -> Response:
        token = b64encode(b"AWS:" + self._password).decode()
        given = {
            "authorizationToken": token,
            "expiresAt": int(time.time()) + _TOKEN_SECONDS,
            "proxyEndpoint": f"https://{_REGISTRY}",
        }
        return JSONResponse({"authorizationData": [given]}, media_type="application/x-amz-json-1.1")

    async def _registry(self, scope: Scope, receive: Receive, send: Send) -> None:
        """https://distribution.github.io/distribution/spec/auth/token/"""
        headers = Headers(scope=scope)
        if scope["path"] == _TOKENS and scope["method"] not in _READS:
            # Docker 29 tries OAuth2's form first. After a 404 it asks as other clients do, but not
            # after a 403: authorizer.go in github.com/containerd/containerd, core/remotes/docker.
            await JSONResponse({"details": "ask for a token by GET"}, 404)(scope, receive, send)
            return
        try:
            refuse_browsers(headers, forms=False)
        except Foreign as foreign:
            await refusal(foreign)(scope, receive, send)
            return
        answer: ASGIApp = self._app
        if scope["path"] == _TOKENS:
            answer = self._token(headers)
        elif scope["method"] not in _READS or scope["path"] in ("/v2", "/v2/"):
            # This includes the ping: from its answer a client learns how to log in.
            kind, given = _authorization(headers)
            known = (self._password, *((_PULL,) if scope["method"] in _READS else ()))
            if kind != "bearer" or not any(hmac.compare_digest(given, one) for one in known):
                answer = _unauthorized(f"http://{headers['host']}{_TOKENS}")
        await answer(scope, receive, send)

    def _token(self, headers: Headers) -> Response:
        """The token to push with for a client with a login, and the token to pull with for any
        other.
        """
        kind, given = _authorization(headers)
        if not kind:
            return JSONResponse({"token": _PULL.decode()})
        login = b64encode(b"AWS:" + self._password).decode()
        if kind == "basic" and hmac.compare_digest(given, login.encode()):
            return JSONResponse({"token": self._password.decode()})
        return JSONResponse({"details": "incorrect username or password"}, 401)


def _rewritten(send: Send, address: str, here: str) -> Send:
    """Send an answer when it is complete, with another address in it."""
    start: Message = {}
    body = bytearray()

    async def later(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body.extend(message.get("body", b""))
        if message.get("more_body", False):
            return
        text = body.replace(address.encode(), here.encode())
        length = (b"content-length", str(len(text)).encode())
        kept = [one for one in start["headers"] if one[0].lower() != b"content-length"]
        await send({**start, "headers": [*kept, length]})
        await send({"type": "http.response.body", "body": bytes(text)})

    return later


def _authorization(headers: Headers) -> tuple[str, bytes]:
    kind, _, given = headers.get("authorization", "").partition(" ")
    return kind.lower(), given.encode()


def _unauthorized(realm: str) -> Response:
    text = "log in with the token of ECR's GetAuthorizationToken"
    return JSONResponse(
        {"errors": [{"code": "UNAUTHORIZED", "message": text}]},
        401,
        headers={
            "www-authenticate": f'Bearer realm="{realm}",service="greenhouse"',
            "docker-distribution-api-version": "registry/2.0",
        },
    )


def main() -> None:
    """Serve until SIGTERM. The key comes from the environment."""
    try:
        key = own_key(os.environ)
    except NoKey as error:
        sys.exit(str(error))
    ministack.app = Front(ministack.app, key)
    ministack.main()


if __name__ == "__main__":
    main()
