"""A proxy in front of the account that sees each changing call, and can cut it off.

Providers, program and Docker engine get its ports instead of the account's. It counts the calls
themselves, so the crash matrix includes a new resource of the program without a list.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import urllib3
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_READS = ("Get", "List", "Describe", "Simulate", "Batchget", "BatchGet", "BatchCheck")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|sha256:[0-9a-f]{64}|[0-9a-f]{64}")
_OWN = {"connection", "content-length", "transfer-encoding", "keep-alive", "date", "server"}


def change_of(method: str, path: str, query: str, target: str, body: bytes) -> str | None:
    """The name of a call that changes the account, the same in every run. None for all others."""
    service, _, operation = target.rpartition(".")  # ECR, Cloud Control: in a header.
    if path == "/" and method == "POST" and not target:  # IAM, STS: a form.
        operation = parse_qs(body.decode()).get("Action", [""])[0]
    if operation and not operation.startswith(_READS):
        return f"{operation} {_resource(body)}" if service == "CloudApiService" else operation
    own = path.startswith("/device/") or path.endswith("/resolveComponentCandidates")
    if operation or own or method in ("GET", "HEAD"):  # `own` is a call of the device.
        return None
    named = f"{method} {_ID.sub('*', path)}"
    if path.endswith("/createComponentVersion"):
        recipe = json.loads(base64.b64decode(json.loads(body)["inlineRecipe"]))
        return f"{named} {recipe['ComponentName']}"
    asked = "&".join(part for part in query.split("&") if "=" not in part or part.endswith("="))
    return f"{named}?{asked}" if asked else named


def _resource(body: bytes) -> str:
    """What Cloud Control has to change: the type, and a component's name."""
    asked = json.loads(body)
    kind = asked.get("TypeName", "").rpartition("::")[2]  # There is none if a request is cancelled.
    if kind == "ComponentVersion" and "DesiredState" in asked:
        recipe = json.loads(json.loads(asked["DesiredState"])["InlineRecipe"])
        return f"{kind} {recipe['ComponentName']}"
    return str(kind)


@dataclass
class Calls:
    """The calls to one account. `answered` hears of each change before its caller does."""

    answered: Callable[[str], None] = lambda _name: None
    cut: bool = False  # From now on nothing changes any more.
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=32))

    @contextmanager
    def serving(self, port: int) -> Iterator[int]:
        """A port that leads to `port`."""

        async def forward(request: Request) -> Response:
            return await self._forward(request, port)

        app = Starlette(routes=[Route("/{path:path}", forward, methods=METHODS)])
        config = uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        listening = config.bind_socket()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        server.should_exit = True
        thread.join()

    async def _forward(self, request: Request, port: int) -> Response:
        body = await request.body()
        path, query = request.scope["raw_path"].decode(), request.url.query
        target = request.headers.get("x-amz-target", "")
        change = change_of(request.method, path, query, target, body)
        if change and self.cut:
            return Response(status_code=403)
        answer = await run_in_threadpool(
            self._pool.request,
            request.method,
            f"http://127.0.0.1:{port}{path}{'?' if query else ''}{query}",
            body=body,
            headers={name: value for name, value in request.headers.items() if name not in _OWN},
            redirect=False,
            retries=False,
            decode_content=False,
        )
        if change and answer.status < 400:
            await run_in_threadpool(self.answered, change)
        response = Response(None if request.method == "HEAD" else answer.data, answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _OWN:
                response.headers.append(name, value)
        if request.method == "HEAD" and "content-length" in answer.headers:
            response.headers["content-length"] = answer.headers["content-length"]
        return response
