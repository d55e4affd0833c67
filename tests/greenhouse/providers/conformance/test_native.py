"""The stand-in of aws-native answers every recorded call as the real plugin did.

not-modelled-native.json lists what it refuses where the plugin goes on, with the reasons. It never
accepts what the plugin refuses. If both answer, they answer the same.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]

from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.server import serve
from tests.greenhouse.providers.conformance.plugin_calls import (
    Plugin,
    comparable,
    failed,
    recorded,
    refuses,
)
from tests.greenhouse.providers.conformance.recorded import FOLDER, ScriptedAccount, lay, records
from tests.greenhouse.providers.conftest import free_port

RECORDS = records("aws-native")
NOT_MODELLED: dict[str, str] = json.loads((FOLDER / "not-modelled-native.json").read_text())
KEYS = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab"}
REGION = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}
# What a record's situation says of the plugin's variables and its `environment` doesn't.
UNSAID: dict[str, dict[str, None]] = {
    "aws-native.Invoke.getRegion.default-env": {"AWS_REGION": None},
    "aws-native.Read.no-credentials": dict.fromkeys(KEYS),
}


@contextmanager
def provider(account: str) -> Iterator[int]:
    """The stand-in's port, with its account at this address."""
    port = free_port()
    ours = AwsClients(endpoint=account, control_endpoint=account, sts_endpoint=account)
    (server,) = serve(f"aws-native:{port}", ours)
    yield port
    server.stop(grace=None).wait()


@contextmanager
def scripted() -> Iterator[tuple[ScriptedAccount, int]]:
    account = ScriptedAccount()
    with provider(f"http://127.0.0.1:{account.port}") as port:
        yield account, port
    account.close()


@pytest.fixture(scope="module")
def common() -> Iterator[tuple[ScriptedAccount, int]]:
    with scripted() as both:
        yield both


@pytest.fixture(scope="module")
def nowhere() -> Iterator[int]:
    """A provider whose account doesn't answer."""
    with provider("http://127.0.0.1:9") as port:
        yield port


@pytest.fixture
def served(
    record: dict[str, Any], common: tuple[ScriptedAccount, int]
) -> Iterator[tuple[ScriptedAccount, int]]:
    """A cancelled call must not disturb the next record."""
    if "given up" in record.get("meanwhile", ""):
        with scripted() as both:
            yield both
    else:
        yield common


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SKIP_CREDENTIALS_VALIDATION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (KEYS | REGION).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("greenhouse.providers.aws_native.cloudcontrol.random.random", lambda: 0.0)
    return monkeypatch


def _prepare(record: dict[str, Any], environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The files and the variables of the plugin's process."""
    lay(record, tmp_path)
    given = (record.get("environment") or {}) | UNSAID.get(record["id"], {})
    for name, value in given.items():
        if name.startswith("AWS_ENDPOINT"):
            continue
        if value is None:
            environment.delenv(name, raising=False)
        else:
            environment.setenv(name, value.replace("{root}", str(tmp_path)))


@pytest.mark.parametrize("record", RECORDS, ids=[record["id"] for record in RECORDS])
def test_a_call_is_answered_as_by_the_plugin(
    record: dict[str, Any],
    served: tuple[ScriptedAccount, int],
    nowhere: int,
    environment: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    account, port = served
    _prepare(record, environment, tmp_path)
    unreachable = ":9" in json.dumps(record.get("environment") or {})
    plugin = Plugin("aws-native", nowhere if unreachable else port)
    try:
        account.play(record.get("backend") if record["rpc"] == "Configure" else [])
        if record["rpc"] not in ("CheckConfig", "DiffConfig", "Configure", "GetPluginInfo"):
            plugin.configure(
                (record.get("config") or {})
                | ({"skipCredentialsValidation": "true"} if unreachable else {})
            )
        account.play(record.get("backend"))
        if record.get("given") == "the plugin has been told Cancel before":
            plugin.stub.Cancel(empty_pb2.Empty())
        if "given up" in record.get("meanwhile", ""):
            plugin.patience = 0.5
        timer = threading.Timer(0.3, lambda: plugin.stub.Cancel(empty_pb2.Empty()))
        if "Cancel after" in record.get("meanwhile", ""):
            timer.start()
        try:
            answer = plugin.ask(record)
        except grpc.RpcError as error:
            answer = failed(error)
        timer.cancel()
        if timer.ident:
            timer.join()
    finally:
        plugin.close()
    if "crash" in record["response"]:
        assert refuses(comparable(answer)), "the plugin's process dies of it"
        return
    if record["id"] in NOT_MODELLED:
        assert refuses(comparable(answer)), "listed as refused, but answered"
        assert comparable(answer) != recorded(record), "listed, though it is the same"
        return
    assert comparable(answer) == recorded(record)
    _asked_the_same(record, account)


def test_an_instance_on_an_ended_ones_address_is_not_cancelled(
    common: tuple[ScriptedAccount, int], environment: pytest.MonkeyPatch
) -> None:
    del environment
    account, port = common
    (record,) = (one for one in RECORDS if one["id"] == "aws-native.Read.Deployment.refresh")
    plugin = Plugin("aws-native", port)
    try:
        account.play([])
        plugin.configure(record["config"])
        plugin.stub.Cancel(empty_pb2.Empty())
        plugin.configure(record["config"])
        account.play(record["backend"])
        assert plugin.ask(record) == recorded(record)
    finally:
        plugin.close()


def _asked_the_same(record: dict[str, Any], account: ScriptedAccount) -> None:
    """The plugin's requests. Those that change something are compared exactly."""
    backend = [one for one in record.get("backend") or [] if one["api"] == "cloudcontrol"]
    wanted = [
        (one["call"], _request(one["request"]))
        for before, one in zip([None, *backend], backend, strict=False)
        if one["call"] != "GetResourceRequestStatus" and not _sent_twice(before, one)
    ]
    asked = [
        (operation, _request(given))
        for operation, given in account.asked
        if operation not in ("GetResourceRequestStatus", "GetCallerIdentity")
    ]
    assert asked == wanted


def _sent_twice(before: dict[str, Any] | None, one: dict[str, Any]) -> bool:
    """Whether the SDK repeated an answered request, which depends on its timing."""
    token = one["request"].get("ClientToken")
    return bool(
        before
        and token
        and token == before["request"].get("ClientToken")
        and before.get("status") == 200
    )


def _request(given: dict[str, Any]) -> dict[str, Any]:
    shown = {name: one for name, one in given.items() if name != "ClientToken"}
    for name in ("DesiredState", "PatchDocument"):
        if name in shown:
            shown[name] = (
                shown[name]["json"] if isinstance(shown[name], dict) else json.loads(shown[name])
            )
    return shown
