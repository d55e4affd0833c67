"""A registry that gives a record's answers, and accepts everything else."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_TAKEN = {"HEAD": 200, "POST": 202, "PATCH": 202, "PUT": 201}


class ScriptedRegistry:
    """The registry. `asked` has its requests, with masked digests."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._script: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                registry._answer(self, b"".join(self._parts()))

            def _parts(self) -> Iterator[bytes]:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    yield self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    return
                while size := int(self.rfile.readline(), 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):  # All methods have one answer.
                    return self._answer
                raise AttributeError(name)

            def log_message(self, *_: Any) -> None:
                """Print nothing: the test reports what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def play(self, backend: list[dict[str, Any]] | None) -> None:
        with self._changed:
            self.asked = []
            self._script = {_masked(one["call"]): one for one in backend or []}

    def await_call(self, call: str) -> None:
        """Wait until this request came."""
        with self._changed:
            asked = self._changed.wait_for(lambda: call in self.asked, timeout=120)
        assert asked, f"never asked {call}, only {self.asked}"

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        call = _masked(f"{handler.command} {handler.path}")
        with self._changed:
            self.asked.append(call)
            self._changed.notify_all()
            one = self._script.get(call, {})
        status, text = 200, b""
        if one.get("injected"):
            status, text = one["status"], json.dumps(one["answer"]).encode()
        elif handler.command != "GET":
            status = _TAKEN[handler.command]
        handler.send_response(status)
        if handler.command in ("POST", "PATCH"):
            handler.send_header("Location", handler.path.partition("/uploads/")[0] + "/uploads/1")
            handler.send_header("Range", f"0-{len(body)}")
        if status == 401:
            handler.send_header("WWW-Authenticate", 'Basic realm="conformance"')
        if handler.command == "PUT":
            digest = hashlib.sha256(body).hexdigest()
            handler.send_header("Docker-Content-Digest", f"sha256:{digest}")
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(text)


def _masked(call: str) -> str:
    return re.sub(r"sha256:[0-9a-f]{64}", "sha256:-", call)
