"""Records of the real plugins: their values on the wire, and an account that answers by script."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]
from pulumi.runtime import rpc

FOLDER = Path(__file__).parent
SIGNATURE = rpc._special_sig_key
_IDENTITY = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    "<GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/lab</Arn><UserId>U</UserId>"
    "<Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


def records(package: str) -> list[dict[str, Any]]:
    """Every single call of a package, in order."""
    everything = json.loads((FOLDER / "providers.json").read_text())
    return [record for record in everything if record["package"] == package]


def lay(record: dict[str, Any], root: Path) -> None:
    """Create the files that the plugin's process could read."""
    for name, file in (record.get("files") or {}).items():
        path = root / name.replace("ignore{tmp}", "ignore/tmp/keep")  # Masked by mistake.
        path.parent.mkdir(parents=True, exist_ok=True)
        if "link" in file:
            path.symlink_to(file["link"].replace("{root}", str(root)))
        elif "folder" in file:
            path.mkdir(exist_ok=True)
        elif "fifo" in file:
            os.mkfifo(path)
        else:
            path.write_text(file["text"])
        if "mode" in file and "link" not in file:
            path.chmod(int(file["mode"], 8))


def struct(value: Mapping[str, Any] | None) -> Struct:
    """A record's properties as the engine sends them."""
    return ParseDict({name: _sent(one) for name, one in (value or {}).items()}, Struct())


def _sent(value: Any) -> Any:  # noqa: PLR0911  # one return for each kind of value
    match value:
        case "<unknown>":
            return rpc.UNKNOWN
        case {"secret": secret}:
            return {SIGNATURE: rpc._special_secret_sig, "value": _sent(secret)}
        case {"asset": asset}:
            return {SIGNATURE: rpc._special_asset_sig, **asset}
        case {"output": output}:
            inside = {"value": _sent(output["value"])} if "value" in output else {}
            return {SIGNATURE: rpc._special_output_value_sig, **output, **inside}
        case dict():
            return {name: _sent(one) for name, one in value.items()}
        case list():
            return [_sent(one) for one in value]
        case _:
            return value


def told(message: Struct) -> dict[str, Any]:
    """Properties from the wire, in a record's spelling."""
    return {name: _told(one) for name, one in MessageToDict(message).items() if one is not None}


def _told(value: Any) -> Any:  # noqa: PLR0911  # one return for each kind of value
    match value:
        case rpc.UNKNOWN:
            return "<unknown>"
        case dict() if value.get(SIGNATURE) == rpc._special_secret_sig:
            return {"secret": _told(value.get("value"))}
        case dict() if value.get(SIGNATURE) == rpc._special_asset_sig:
            return {"asset": {name: one for name, one in value.items() if name != SIGNATURE}}
        case dict():
            return {name: _told(one) for name, one in value.items() if one is not None}
        case list():
            return [_told(one) for one in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


class ScriptedAccount:
    """Cloud Control and STS that give the recorded answers, and remember the requests."""

    def __init__(self) -> None:
        self.script: list[dict[str, Any]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.held = threading.Event()
        account = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                account.answer(self, body)

            def log_message(self, *_: Any) -> None:
                """Print nothing: the test reports what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.held.set()
        self._server.shutdown()
        self._server.server_close()

    def play(self, backend: list[dict[str, Any]] | None) -> None:
        self.script = [one for one in backend or [] if one["api"] in ("cloudcontrol", "sts")]
        self.asked = []

    def answer(self, handler: BaseHTTPRequestHandler, body: str) -> None:
        target = handler.headers.get("X-Amz-Target", "")
        api = "cloudcontrol" if target else "sts"
        operation = target.rpartition(".")[2] or "GetCallerIdentity"
        if api == "sts" and not any(one["api"] == "sts" for one in self.script):
            return self._write(handler, 200, _IDENTITY)
        given = json.loads(body) if target else {}
        self.asked.append((operation, given))
        now = next((one for one in self.script if one["call"] == operation), None)
        if now is None:
            waiting = {"ProgressEvent": {"OperationStatus": "IN_PROGRESS", "RequestToken": "t"}}
            return self._write(handler, 200, json.dumps(waiting))
        self.script.remove(now)
        if now["answer"] == "connection closed without an answer":
            handler.close_connection = True
            return None
        if now["answer"] == "no answer at all":
            self.held.wait(2)
            return None
        text = now["answer"] if isinstance(now["answer"], str) else json.dumps(_real(now["answer"]))
        return self._write(handler, now["status"], text)

    @staticmethod
    def _write(handler: BaseHTTPRequestHandler, status: int, text: str) -> None:
        handler.send_response(status)
        handler.send_header("x-amzn-RequestId", "00000000-0000-0000-0000-000000000000")
        handler.send_header("Content-Length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())


def _real(answer: Any) -> Any:
    """A recorded answer as it was on the wire."""
    match answer:
        case {"json": inside}:
            return json.dumps(inside)
        case "{time}":
            return 1.0
        case dict():
            return {name: _real(one) for name, one in answer.items()}
        case list():
            return [_real(one) for one in answer]
        case _:
            return answer
