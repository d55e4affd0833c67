"""The HTTP side: greengrassv2 and Cloud Control as boto3 speaks them, and our devices' two calls.

    GET  /health
    POST /                                              Cloud Control
    GET  /device/{thing}/deployments?seen=N&wait=SECONDS
    POST /device/{thing}/report

The device's calls replace the shadow, job and fleet-status messages of real devices. The first call
answers at once if `seen` isn't the number of the current state. Otherwise it answers when that
number changes, or after `wait`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from greenhouse.cloud.cloudcontrol.requests import TARGET, CloudControl, ControlError
from greenhouse.cloud.errors import ApiError, InternalServerException, ValidationException
from greenhouse.cloud.greengrassv2.api import Api
from greenhouse.cloud.service_shapes import ServiceShapes
from greenhouse.faults import Faults

log = logging.getLogger(__name__)

# The device's certificate signs it, and doesn't expire.
_DEVICES_OWN = "ResolveComponentCandidates"
LOOK_AGAIN_SECONDS = 1.0  # Group membership changes in AWS IoT, which doesn't notify us.
MAX_WAIT_SECONDS = 60.0


class Changes:
    """Wakes every caller that waits for a change of the cloud's state."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def announce(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait until the next announcement, at most for the given time."""
        try:
            await asyncio.wait_for(self._next.wait(), seconds)
        except TimeoutError:
            return


class Cloud:
    """The endpoints. After `closing`, open polls are answered, so that the server can stop."""

    def __init__(
        self,
        api: Api,
        shapes: ServiceShapes,
        control: CloudControl,
        *,
        faults: Faults,
        closing: Callable[[], bool],
    ) -> None:
        self._api, self._shapes, self._faults, self._closing = api, shapes, faults, closing
        self._control, self._control_shapes = control, ServiceShapes("cloudcontrol")
        self._working: set[asyncio.Task[None]] = set()
        self._changes = Changes()

    def app(self) -> Starlette:
        methods = ["GET", "POST", "PUT", "DELETE"]
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/device/{thing}/deployments", self._guarded(self._deployments)),
                Route("/device/{thing}/report", self._guarded(self._report), methods=["POST"]),
                Route("/", self._control_operation, methods=["POST"]),
                Route("/{path:path}", self._guarded(self._operation), methods=methods),
            ]
        )

    def _guarded(
        self, endpoint: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Answer every failure in AWS' own form."""

        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except ApiError as error:
                return self._refusal(error)
            # Our own mistake: the caller gets an answer, the log gets the reason.
            except Exception:
                log.exception("%s %s", request.method, request.url.path)
                return self._refusal(
                    InternalServerException("greenhouse's cloud made a mistake: see its log")
                )

        return answer

    def _refusal(self, error: ApiError) -> Response:
        headers = {"x-amzn-errortype": type(error).__name__, "x-amzn-requestid": str(uuid.uuid4())}
        return JSONResponse(error.body, status_code=self._shapes.status_of(error), headers=headers)

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _operation(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii")
        routed = self._shapes.route(request.method, path)
        if routed is None:
            return JSONResponse(
                {"message": f"greengrassv2 has no operation {request.method} {path}"},
                status_code=404,
                headers={"x-amzn-errortype": "UnknownOperationException"},
            )
        operation, labels = routed
        if operation != _DEVICES_OWN and self._faults.detail("expired-credentials") is not None:
            return JSONResponse(
                {"message": "The security token included in the request is expired"},
                status_code=403,
                headers={"x-amzn-errortype": "ExpiredTokenException"},
            )
        given = self._shapes.read(
            operation,
            labels=labels,
            query=parse_qs(request.url.query, keep_blank_values=True),
            body=await request.body(),
        )
        result = await run_in_threadpool(self._api.answer, operation, given)
        if request.method != "GET":
            self._changes.announce()
        status, body = self._shapes.write(operation, result)
        return Response(
            body,
            status_code=status,
            media_type="application/json",
            headers={"x-amzn-requestid": str(uuid.uuid4())},
        )

    async def _control_operation(self, request: Request) -> Response:
        """Cloud Control's protocol, AWS JSON 1.0: a header names the operation."""
        operation = request.headers.get("x-amz-target", "").removeprefix(TARGET)
        try:
            status, body = await self._controlled(operation, await request.body())
        except (ApiError, ControlError) as error:
            status, body = _control_refusal(error)
        except Exception:  # Our own mistake: the caller gets an answer, the log gets the reason.
            log.exception("cloudcontrol %s", operation)
            told = "greenhouse's cloud made a mistake: see its log"
            status, body = _control_refusal(ControlError("ServiceInternalErrorException", told))
        return Response(
            body,
            status_code=status,
            media_type="application/x-amz-json-1.0",
            headers={"x-amzn-requestid": str(uuid.uuid4())},
        )

    async def _controlled(self, operation: str, body: bytes) -> tuple[int, bytes]:
        if self._faults.detail("expired-credentials") is not None:
            raise ControlError(
                "ExpiredTokenException", "The security token included in the request is expired"
            )
        if not self._control_shapes.has(operation):
            raise ControlError("UnknownOperationException", f"there is no '{operation}'")
        self._faults.crash("crash-before", operation)
        if error := self._faults.error(operation):
            raise ControlError(error, "by a fault of greenhouse: python -m greenhouse fault list")
        given = self._control_shapes.read(operation, labels={}, query={}, body=body)
        result = await run_in_threadpool(self._control.answer, operation, given)
        self._go_on(await run_in_threadpool(self._control.unfinished))
        self._faults.crash("crash-after", operation)
        return self._control_shapes.write(operation, result)

    def _go_on(self, tokens: list[str]) -> None:
        """Have handlers work on these requests after the answer."""
        for token in tokens:
            task = asyncio.create_task(self._work(token), name=f"cloudcontrol {token}")
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _work(self, token: str) -> None:
        await run_in_threadpool(self._control.work, token)
        self._changes.announce()

    async def _deployments(self, request: Request) -> Response:
        thing = request.path_params["thing"]
        seen = _number(request, "seen", float("inf"))
        deadline = time.monotonic() + _number(request, "wait", MAX_WAIT_SECONDS)
        devices = self._api.devices
        await run_in_threadpool(devices.require_thing, thing)
        while True:
            pending = await run_in_threadpool(devices.pending, thing)
            left = deadline - time.monotonic()
            if pending["seen"] != seen or left <= 0 or self._closing():
                return JSONResponse(pending)
            await self._changes.wait(min(left, LOOK_AGAIN_SECONDS))

    async def _report(self, request: Request) -> Response:
        thing = request.path_params["thing"]
        try:
            body: Any = json.loads(await request.body())
        except ValueError as error:
            raise ValidationException(f"the report is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise ValidationException("the report is no JSON object")
        devices = self._api.devices
        await run_in_threadpool(devices.require_thing, thing)
        await run_in_threadpool(devices.report, thing, body)
        self._changes.announce()
        return JSONResponse({})


def _control_refusal(error: ApiError | ControlError) -> tuple[int, bytes]:
    name = error.name if isinstance(error, ControlError) else type(error).__name__
    body = {"__type": f"com.amazon.cloudapiservice#{name}", "Message": str(error)}
    return 500 if name == "ServiceInternalErrorException" else 400, json.dumps(body).encode()


def _number(request: Request, name: str, most: float) -> float:
    text = request.query_params.get(name, "0")
    try:
        return min(float(text), most)
    except ValueError as error:
        raise ValidationException(f"{name} is {text!r}, not a number") from error
