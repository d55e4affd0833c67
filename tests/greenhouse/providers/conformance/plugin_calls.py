"""The calls of the provider protocol, in a record's form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from google.rpc import status_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from tests.greenhouse.providers.conformance.recorded import struct, told

_CHANGES = provider_pb2.DiffResponse.DiffChanges
_KINDS = provider_pb2.PropertyDiff.Kind


class Plugin:
    """A connection like the engine's to one provider instance."""

    def __init__(self, package: str, port: int) -> None:
        self._package = package
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self.patience: float | None = None
        self.stub = provider_pb2_grpc.ResourceProviderStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def configure(self, variables: dict[str, str]) -> Any:
        named = {f"{self._package}:config:{name}": value for name, value in variables.items()}
        request = provider_pb2.ConfigureRequest(variables=named, args=struct(variables))
        return self.stub.Configure(request)

    def ask(self, record: dict[str, Any]) -> dict[str, Any]:
        """Make a record's request, and return the answer in a record's form."""
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
        "hasDetailedDiff": answer.hasDetailedDiff,
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


def _handshake(plugin: Plugin, given: dict[str, Any], urn: str) -> dict[str, Any]:
    del given, urn
    plugin.stub.Handshake(provider_pb2.ProviderHandshakeRequest())
    return {}


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
    "Handshake": _handshake,
    "Invoke": _invoke,
    "Read": _read,
    "Update": _update,
}


def failed(error: grpc.RpcError) -> dict[str, Any]:
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
    """What the plugin answered, without the parts that aren't compared exactly."""
    answer = {name: one for name, one in record["response"].items() if name not in ("log", "crash")}
    return comparable(answer)


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    if "failures" in answer:
        answer = {"failures": sorted(answer["failures"], key=lambda one: one["reason"])}
    answer = {
        name: one for name, one in answer.items() if name not in ("inputs", "properties") or one
    }
    if answer.get("error", {}).get("code") == "UNIMPLEMENTED":
        answer = {"error": {"code": "UNIMPLEMENTED"}}  # Each library of gRPC has its own words.
    text = json.dumps(answer, sort_keys=True)
    text = re.sub(r"RequestID: [0-9a-f-]*", "RequestID: -", text)
    text = re.sub(r"0x[^ ]*|, failed to decode response body.*?(?=\")", "", text)
    found: dict[str, Any] = json.loads(text)
    return found


def refuses(answer: dict[str, Any]) -> bool:
    return "error" in answer or "failures" in answer
