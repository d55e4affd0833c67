"""The stand-in of aws-native answers every recorded call as the real plugin did.

Listed in not-modelled.json is what it refuses where the plugin goes on, each with its reason. It
never takes what the plugin refuses, and where both answer, they answer the same.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from google.rpc import status_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from greenhouse.providers.account import Account
from greenhouse.providers.server import serve
from tests.greenhouse.providers.conftest import free_port
from tests.greenhouse.providers.recorded import FOLDER, ScriptedAccount, records, struct, told

RECORDS = records("aws-native")
NOT_MODELLED: dict[str, str] = json.loads((FOLDER / "not-modelled.json").read_text())
KEYS = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab"}
REGION = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1"}
# What a record's situation says of the plugin's variables and its `environment` doesn't.
UNSAID: dict[str, dict[str, None]] = {
    "aws-native.Invoke.getRegion.default-env": {"AWS_REGION": None},
    "aws-native.Read.no-credentials": dict.fromkeys(KEYS),
}
_CHANGES = provider_pb2.DiffResponse.DiffChanges
_KINDS = provider_pb2.PropertyDiff.Kind


@contextmanager
def provider(account: str) -> Iterator[int]:
    """The stand-in's port, with its account at this address."""
    port = free_port()
    ours = Account(endpoint=account, control_endpoint=account, sts_endpoint=account)
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
    """A provider whose account nobody answers for."""
    with provider("http://127.0.0.1:9") as port:
        yield port


@pytest.fixture
def served(
    record: dict[str, Any], common: tuple[ScriptedAccount, int]
) -> Iterator[tuple[ScriptedAccount, int]]:
    """What a call that is given up still does must not disturb the next record."""
    if "given up" in record.get("meanwhile", ""):
        with scripted() as both:
            yield both
    else:
        yield common


class Plugin:
    """A connection as the engine's to one provider instance."""

    def __init__(self, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self.patience: float | None = None
        self.stub = provider_pb2_grpc.ResourceProviderStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def configure(self, variables: dict[str, str]) -> Any:
        named = {f"aws-native:config:{name}": value for name, value in variables.items()}
        request = provider_pb2.ConfigureRequest(variables=named, args=struct(variables))
        return self.stub.Configure(request)

    def ask(self, record: dict[str, Any]) -> dict[str, Any]:
        """A record's request, and the answer in a record's form."""
        given = record["request"]
        name = given.get("name", "it")
        urn = f"urn:pulumi:local::edge-inference::{record.get('type')}::{name}"
        return _ANSWERS[record["rpc"]](self, given, urn)


def _check(plugin: Plugin, given: dict[str, Any], urn: str) -> dict[str, Any]:
    modes = provider_pb2.CheckRequest.AutonamingOptions
    named = given.get("autonaming")
    answer = plugin.stub.Check(
        provider_pb2.CheckRequest(
            urn=urn,
            news=struct(given.get("news")),
            olds=struct(given.get("olds")),
            randomSeed=bytes.fromhex(given.get("randomSeed", "30" * 32)),
            autonaming=modes(
                mode=modes.Mode.Value(named["mode"]), proposed_name=named.get("proposedName", "")
            )
            if named
            else None,
        )
    )
    return _checked(answer)


def _checked(answer: provider_pb2.CheckResponse) -> dict[str, Any]:
    if answer.failures:
        return {
            "failures": [
                {"property": one.property, "reason": one.reason} for one in answer.failures
            ]
        }
    return {"inputs": told(answer.inputs)}


def _check_config(plugin: Plugin, given: dict[str, Any], urn: str) -> dict[str, Any]:
    request = provider_pb2.CheckRequest(urn=urn, news=struct(given["news"]))
    return _checked(plugin.stub.CheckConfig(request))


def _diff_request(given: dict[str, Any], urn: str) -> provider_pb2.DiffRequest:
    return provider_pb2.DiffRequest(
        id=given.get("id", ""),
        urn=urn,
        olds=struct(given.get("olds")),
        old_inputs=struct(given.get("oldInputs")),
        news=struct(given["news"]),
        ignoreChanges=given.get("ignoreChanges", []),
    )


def _differs(answer: provider_pb2.DiffResponse) -> dict[str, Any]:
    found = {
        "changes": _CHANGES.Name(answer.changes),
        "diffs": list(answer.diffs),
        "replaces": list(answer.replaces),
        "deleteBeforeReplace": answer.deleteBeforeReplace,
        "detailedDiff": {name: _KINDS.Name(one.kind) for name, one in answer.detailedDiff.items()},
    }
    return {name: value for name, value in found.items() if value}


def _read(plugin: Plugin, given: dict[str, Any], urn: str) -> dict[str, Any]:
    answer = plugin.stub.Read(
        provider_pb2.ReadRequest(
            id=given["id"],
            urn=urn,
            properties=struct(given.get("properties")),
            inputs=struct(given.get("inputs")),
        )
    )
    found = {"inputs": told(answer.inputs), "properties": told(answer.properties)}
    return {"id": answer.id, **{name: value for name, value in found.items() if value}}


def _create(plugin: Plugin, given: dict[str, Any], urn: str) -> dict[str, Any]:
    answer = plugin.stub.Create(
        provider_pb2.CreateRequest(
            urn=urn,
            properties=struct(given["properties"]),
            preview=given.get("preview", False),
            timeout=given.get("timeout", 0),
        ),
        timeout=plugin.patience,
    )
    return {"id": answer.id, "properties": told(answer.properties)}


def _update(plugin: Plugin, given: dict[str, Any], urn: str) -> dict[str, Any]:
    answer = plugin.stub.Update(
        provider_pb2.UpdateRequest(
            id=given["id"],
            urn=urn,
            olds=struct(given.get("olds")),
            old_inputs=struct(given.get("oldInputs")),
            news=struct(given["news"]),
            preview=given.get("preview", False),
        )
    )
    return {"properties": told(answer.properties)}


def _delete(plugin: Plugin, given: dict[str, Any], urn: str) -> dict[str, Any]:
    plugin.stub.Delete(
        provider_pb2.DeleteRequest(
            id=given["id"],
            urn=urn,
            properties=struct(given.get("properties")),
            old_inputs=struct(given.get("oldInputs")),
        )
    )
    return {}


def _invoke(plugin: Plugin, given: dict[str, Any], urn: str) -> dict[str, Any]:
    del urn
    request = provider_pb2.InvokeRequest(tok=given["tok"], args=struct(given.get("args")))
    return {"return": told(getattr(plugin.stub.Invoke(request), "return"))}


def _configure(plugin: Plugin, given: dict[str, Any], urn: str) -> dict[str, Any]:
    del urn
    answer = plugin.configure(given["variables"])
    return {
        "acceptSecrets": answer.acceptSecrets,
        "supportsPreview": answer.supportsPreview,
        "acceptResources": answer.acceptResources,
        "acceptOutputs": answer.acceptOutputs,
        "supports_autonaming_configuration": answer.supports_autonaming_configuration,
    }


_ANSWERS: dict[str, Callable[[Plugin, dict[str, Any], str], dict[str, Any]]] = {
    "Check": _check,
    "CheckConfig": _check_config,
    "Configure": _configure,
    "Create": _create,
    "Delete": _delete,
    "Diff": lambda plugin, given, urn: _differs(plugin.stub.Diff(_diff_request(given, urn))),
    "DiffConfig": lambda plugin, given, urn: _differs(
        plugin.stub.DiffConfig(_diff_request(given, urn))
    ),
    "GetPluginInfo": lambda plugin, *_: {
        "version": plugin.stub.GetPluginInfo(empty_pb2.Empty()).version
    },
    "Invoke": _invoke,
    "Read": _read,
    "Update": _update,
}


def _failed(error: grpc.RpcError) -> dict[str, Any]:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return {"error": {"code": "CANCELLED", "message": "cancelled by the caller"}}
    told_: dict[str, Any] = {"code": error.code().name, "message": error.details()}
    trailing = dict(error.trailing_metadata() or ())
    if packed := trailing.get("grpc-status-details-bin"):
        (detail,) = status_pb2.Status.FromString(packed).details
        made = provider_pb2.ErrorResourceInitFailed()
        detail.Unpack(made)
        told_["details"] = [
            {
                "type": "ErrorResourceInitFailed",
                "id": made.id,
                "reasons": list(made.reasons),
                "properties": told(made.properties),
                "inputs": told(made.inputs),
            }
        ]
    return {"error": told_}


def recorded(record: dict[str, Any]) -> dict[str, Any]:
    """What the plugin answered, without what isn't to be compared to the letter."""
    answer = {name: one for name, one in record["response"].items() if name not in ("log", "crash")}
    return comparable(answer)


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    if "failures" in answer:
        answer = {"failures": sorted(answer["failures"], key=lambda one: one["reason"])}
    answer = {name: one for name, one in answer.items() if name != "inputs" or one}
    text = json.dumps(answer, sort_keys=True)
    text = re.sub(r"RequestID: [0-9a-f-]*", "RequestID: -", text)
    text = re.sub(r"0x[^ ]*|, failed to decode response body.*?(?=\")", "", text)
    found: dict[str, Any] = json.loads(text)
    return found


def refuses(answer: dict[str, Any]) -> bool:
    return "error" in answer or "failures" in answer


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
    for name, file in (record.get("files") or {}).items():
        (tmp_path / name).write_text(file["text"])
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
    plugin = Plugin(nowhere if unreachable else port)
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
            answer = _failed(error)
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
    plugin = Plugin(port)
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
    """The requests behind the plugin: those that change something, to the letter."""
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
    """Whether the SDK has sent a request again though it was answered: a matter of its timing."""
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
