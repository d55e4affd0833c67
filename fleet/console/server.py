"""Shows the fleet live in a browser, for AWS and greenhouse, with the content of `make status`.

The server writes the HTML, also for every change. The page's script only inserts it. The server
listens on loopback and answers to loopback's names only, so a foreign page can't reach it through
another name that points here. It can't change anything.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet.logs import Answer
from fleet.observe import TOLD, Device, Fleet, Target
from fleet.stacks import NoStack, places
from fleet.status import BAD, GOOD, Answers, FleetStatus, read_fleet, silence, unheard, well
from infra.printable import printable

HERE = Path(__file__).parent
HOST = "127.0.0.1"
KEPT = 60  # The drawn latencies have this many answers per device.
_EVERY_SECONDS = 5.0

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _shown(value: object) -> object:
    """Prepare a value for the page, before it is escaped. Finished HTML passes."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The HTML of the page's main part, and a sentence on what changed."""

    html: str
    said: str


class Feed:
    """Reads the fleet every few seconds while a page is open, once for all pages."""

    def __init__(self, seen: Callable[[], FleetStatus], every: float) -> None:
        self._seen, self._every = seen, every
        self._answers: dict[tuple[str, str, str], deque[Answer]] = {}
        self._states: dict[tuple[str, str, str], str] = {}
        self._lock = asyncio.Lock()
        self._looked = float("-inf")
        self._picture = Picture(html="", said="")
        self._template = _TEMPLATES.get_template("page_main.html")

    async def picture(self) -> Picture:
        """The newest picture. Reads again only if it is older than `every` seconds."""
        async with self._lock:
            if time.monotonic() - self._looked >= self._every:
                self._picture = await asyncio.to_thread(self._look)
                self._looked = time.monotonic()
            return self._picture

    async def pictures(self) -> AsyncIterator[Picture]:
        """Yield every changed picture, without an end."""
        last = ""
        while True:
            now = await self.picture()
            if now.html != last:
                last = now.html
                yield now
            await asyncio.sleep(self._every)

    def _look(self) -> Picture:
        try:
            seen = self._seen()
        except NoStack as error:
            return Picture(
                html=self._template.module.trouble(str(error)),  # type: ignore[attr-defined]
                said="AWS can't be asked",
            )
        for fleet, answers in seen.fleets:
            for target in fleet.targets:
                for device in target.devices:
                    self._remember(
                        (fleet.region, target.stack, device.name),
                        answers[target.stack, device.name],
                    )
        html = self._template.module.fleets(  # type: ignore[attr-defined]
            seen.worst_first, self._answers, TOLD, GOOD, BAD, sparkline, apart, silence, unheard
        )
        return Picture(html=str(html), said=self._news(fleet for fleet, _ in seen.fleets))

    def _remember(self, whose: tuple[str, str, str], one: Answer | str) -> None:
        if isinstance(one, Answer):
            kept = self._answers.setdefault(whose, deque(maxlen=KEPT))
            if not kept or kept[-1].at != one.at:
                kept.append(one)

    def _news(self, fleets: Iterable[Fleet]) -> str:
        """The change as text for a screen reader; empty for the first picture."""
        now = {
            (fleet.region, device.name, one.name): f"{one.version} {one.state}"
            for fleet in fleets
            for target in fleet.targets
            for device in target.devices
            for one in device.components
        }
        changes = [
            f"{device} {component} is {how}"
            for (region, device, component), how in now.items()
            if self._states.get((region, device, component)) != how
        ]
        news = ", ".join(changes) if self._states else ""
        self._states = now
        return news


def apart(target: Target, answers: Answers, now: datetime) -> tuple[list[Device], list[Device]]:
    """The targets that need a look, and the others."""
    wrong: list[Device] = []
    fine: list[Device] = []
    for one in sorted(target.devices, key=lambda one: one.name):
        (fine if well(one, answers[target.stack, one.name], now) else wrong).append(one)
    return wrong, fine


def sparkline(answers: Iterable[Answer]) -> str:
    """Points of an SVG polyline of 100 by 24: latencies from oldest to newest, from 0."""
    values = [one.milliseconds for one in answers]
    most = max(values, default=0.0) or 1.0
    step = 100 / max(1, len(values) - 1)
    return " ".join(f"{n * step:.1f},{23 - 22 * one / most:.1f}" for n, one in enumerate(values))


class _Headers:
    """Adds the headers to every response, also to a refused host's. Streams stay streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)


def application(seen: Callable[[], FleetStatus], *, every: float) -> Starlette:
    """The page, its live changes and its two files."""
    page, feed = _TEMPLATES.get_template("page.html"), Feed(seen, every)

    async def index(_: Request) -> Response:
        return HTMLResponse(page.render(main=(await feed.picture()).html))

    async def live(_: Request) -> Response:
        async def events() -> AsyncIterator[str]:
            async for picture in feed.pictures():
                told = json.dumps({"html": picture.html, "said": picture.said})
                yield f"data: {told}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/", index),
            Route("/live", live),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        middleware=[
            Middleware(_Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
        ],
    )


def console(
    stack: Annotated[str | None, typer.Option(help="Only this stack.")] = None,
    port: Annotated[int, typer.Option(help="The port on 127.0.0.1.")] = 8321,
) -> None:
    """Show the fleet live on a read-only page in a browser."""
    there = places(stack)
    config = uvicorn.Config(
        application(partial(read_fleet, there), every=_EVERY_SECONDS),
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=1,  # An open page never ends its request.
    )
    with socket.socket() as listening, suppress(KeyboardInterrupt):
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError as error:
            raise NoStack(
                f"the page can't be served on port {port}: {error.strerror}.",
                "Name another:",
                f"make console PORT={8323 if port == 8322 else 8322}",
            ) from error
        sys.stderr.write(f"http://{HOST}:{port}/ shows the fleet; Ctrl-C ends it\n")
        uvicorn.Server(config).run([listening])
