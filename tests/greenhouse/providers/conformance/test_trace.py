"""The stand-ins answer a stack's whole life, call by call, as both real plugins did.

`up`, an `up` with another model, `refresh`, `destroy`, and a preview with two explicit providers.
Cloud Control holds what the plugin found there, from the records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]

from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.aws_native.schema import TYPES
from greenhouse.providers.server import serve
from tests.greenhouse.providers.conformance.plugin_calls import (
    Plugin,
    comparable,
    failed,
    recorded,
    refuses,
)
from tests.greenhouse.providers.conformance.recorded import FOLDER, ScriptedAccount
from tests.greenhouse.providers.conftest import free_port

REFUSED: dict[str, str] = json.loads((FOLDER / "not-modelled-trace.json").read_text())
TRACE: list[dict[str, Any]] = json.loads((FOLDER / "trace.json").read_text())
PHASES = {
    name: list(made) for name, made in groupby(TRACE, lambda record: record["id"].split(".")[0])
}
# A running engine, and a registry that stores the image under the recorded digest.
_CLIENT = """#!/bin/sh
case $1 in
    image) echo sha256:0 ;;
    push) echo "tag: digest: $RECORDED_DIGEST size: 1" ;;
esac
"""


@pytest.fixture
def account() -> Iterator[ScriptedAccount]:
    ours = ScriptedAccount()
    yield ours
    ours.close()


@pytest.fixture
def ports(
    account: ScriptedAccount, program: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, int]]:
    """The stand-ins in a program's folder, with the environment of the recording."""
    looked_for = "greenhouse.providers.protocol.session.process_of"
    monkeypatch.setattr(looked_for, lambda *_: psutil.Process())
    monkeypatch.setattr("greenhouse.providers.aws_native.cloudcontrol.random.random", lambda: 0.0)
    client = program / "bin" / "docker"
    client.parent.mkdir()
    client.write_text(_CLIENT)
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(client.parent), prepend=":")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    there = f"http://127.0.0.1:{account.port}"
    chosen = {"aws-native": free_port(), "docker": free_port()}
    servers = serve(
        ",".join(f"{name}:{port}" for name, port in chosen.items()),
        AwsClients(endpoint=there, control_endpoint=there, sts_endpoint=there),
    )
    yield chosen
    for server in servers:
        server.stop(grace=None).wait()


@pytest.mark.parametrize("phase", PHASES)
def test_every_call_of_a_life_is_answered_as_by_the_plugins(
    phase: str,
    account: ScriptedAccount,
    ports: dict[str, int],
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugins = {name: Plugin(name, port) for name, port in ports.items()}
    try:
        for record in PHASES[phase]:
            _lay_context(record, program)
            account.play(_live(record))
            digest = record["response"].get("properties", {}).get("repoDigest", "")
            monkeypatch.setenv("RECORDED_DIGEST", digest.rpartition("@")[2])
            told = _told(plugins[record["package"]], record)
            if record["id"] in REFUSED:
                assert refuses(told), f"{record['id']}: listed as refused, but answered"
            else:
                assert told == _wanted(record), record["id"]
    finally:
        for plugin in plugins.values():
            plugin.close()


def _told(plugin: Plugin, record: dict[str, Any]) -> dict[str, Any]:
    try:
        if record["rpc"] == "Cancel":
            plugin.stub.Cancel(empty_pb2.Empty())
            return {}
        request = record["request"]
        if record["rpc"] == "Configure":
            request = {"variables": request.get("variables", {})}
        answer = plugin.ask({**record, "request": request})
    except grpc.RpcError as error:
        answer = failed(error)
    return _without_digest(comparable(answer))


def _wanted(record: dict[str, Any]) -> dict[str, Any]:
    return _without_digest(recorded(record))


def _without_digest(answer: dict[str, Any]) -> dict[str, Any]:
    """The files of the build are not in the trace. `test_docker.py` compares their digests."""
    text = re.sub(r'"contextDigest": "[0-9a-f]{64}"', '"contextDigest": "-"', json.dumps(answer))
    found: dict[str, Any] = json.loads(text)
    return found


def _lay_context(record: dict[str, Any], program: Path) -> None:
    if record["package"] == "docker" and record["rpc"] == "Check":
        dockerfile = program / record["request"]["news"]["build"]["dockerfile"]
        dockerfile.parent.mkdir(parents=True, exist_ok=True)
        dockerfile.write_text("FROM scratch\n")


def _live(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What Cloud Control answers for this call."""
    if record["package"] != "aws-native" or record["request"].get("preview"):
        return []
    operation = {"Create": "CREATE", "Delete": "DELETE"}.get(record["rpc"])
    found = record["response"].get("properties", {})
    identifier = record["response"].get("id") or record["request"].get("id")
    script = []
    if operation:
        done = {"OperationStatus": "SUCCESS", "Operation": operation, "Identifier": identifier}
        script.append(_answer(f"{operation.title()}Resource", {"ProgressEvent": done}))
    if found:
        kind = TYPES[record["type"]]
        live = {
            f"{name[:1].upper()}{name[1:]}": _capitalised(one, name)
            for name, one in found.items()
            if name != "__inputs" and name not in kind.write_only
        }
        described = {"Identifier": identifier, "Properties": json.dumps(live)}
        script.append(_answer("GetResource", {"ResourceDescription": described}))
    return script


def _answer(call: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {"api": "cloudcontrol", "call": call, "status": 200, "answer": answer}


_KEYED_BY_NAMES = ("components", "tags")  # The program's maps, whose keys don't change.


def _capitalised(value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key if name in _KEYED_BY_NAMES else f"{key[:1].upper()}{key[1:]}": _capitalised(one, key)
        for key, one in value.items()
    }
