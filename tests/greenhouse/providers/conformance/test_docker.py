"""The stand-in of docker answers every recorded call as the real plugin did.

not-modelled-docker.json lists what it refuses where the plugin goes on, with the reasons. It never
accepts what the plugin refuses. If both answer, they answer the same.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from greenhouse import toolchain
from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.server import serve
from tests.greenhouse.providers.conformance.plugin_calls import (
    Plugin,
    comparable,
    failed,
    recorded,
    refuses,
)
from tests.greenhouse.providers.conformance.recorded import FOLDER, lay, records
from tests.greenhouse.providers.conformance.scripted_registry import ScriptedRegistry
from tests.greenhouse.providers.conftest import free_port

NOT_MODELLED: dict[str, str] = json.loads((FOLDER / "not-modelled-docker.json").read_text())
_BUILT = {"docker.Create.preview-build", "docker.Create.cancel-call"}
_ONE_OF_EACH = {"push", "build-fails", "push-no-repository", "tag", "cancel-call"}
# An engine at the default socket only, as at the recording.
_CLIENT = """#!/bin/sh
[ "$DOCKER_HOST" = unix:///var/run/docker.sock ] && exit
echo "Cannot connect to the Docker daemon at $DOCKER_HOST. Is the docker daemon running?" >&2
exit 1
"""


def builds(record: dict[str, Any]) -> bool:
    """Whether the record needs a real engine."""
    made = record["rpc"] in ("Create", "Update") and "preview" not in record["request"]
    return made or record["id"] in _BUILT


def rows(*, built: bool) -> Iterator[Any]:
    for record in records("docker"):
        if builds(record) is built:
            situation = record["id"].rpartition(".")[2]
            further = built and situation not in _ONE_OF_EACH
            yield pytest.param(
                record, id=record["id"], marks=[pytest.mark.matrix] if further else []
            )


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    chosen = free_port()
    there = "http://127.0.0.1:1"
    nowhere = AwsClients(endpoint=there, control_endpoint=there, sts_endpoint=there)
    (server,) = serve(f"docker:{chosen}", nowhere)
    yield chosen
    server.stop(grace=None).wait()


@pytest.fixture(scope="module")
def registry() -> Iterator[ScriptedRegistry]:
    ours = ScriptedRegistry()
    yield ours
    ours.close()


@pytest.fixture
def plugin(port: int) -> Iterator[Plugin]:
    ours = Plugin("docker", port)
    yield ours
    ours.close()


@pytest.fixture
def place(program: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin's working folder, without settings of docker's."""
    (program / "plain").mkdir()
    (program / "plain/app.py").write_text("print(1)\n")  # The target of a link in one record.
    monkeypatch.setenv("DOCKER_CONFIG", str(program / "no-config"))
    # A search for the process at the other end of each connection takes longer than all the rest.
    monkeypatch.setattr(
        "greenhouse.providers.protocol.session.process_of", lambda *_: psutil.Process()
    )
    return program


@pytest.fixture
def no_engine_needed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = place / "bin" / "docker"
    client.parent.mkdir()
    client.write_text(_CLIENT)
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(client.parent), prepend=":")
    monkeypatch.delenv("DOCKER_HOST", raising=False)


def unmasked(record: dict[str, Any], place: Path, port: int) -> dict[str, Any]:
    text = json.dumps(record).replace("{root}", str(place))
    found: dict[str, Any] = json.loads(text.replace("{registry-port}", str(port)))
    return found


def answer_of(plugin: Plugin, record: dict[str, Any]) -> dict[str, Any]:
    try:
        return plugin.ask(record)
    except grpc.RpcError as error:
        return failed(error)


def judge(record: dict[str, Any], answer: dict[str, Any]) -> None:
    told, wanted = _without_digests(comparable(answer)), _without_digests(recorded(record))
    if "crash" in record["response"]:
        assert refuses(told), "the plugin's process dies of it"
    elif record["id"] in NOT_MODELLED:
        assert refuses(told), "listed as refused, but answered"
        assert told != wanted, "listed, though it is the same"
    else:
        assert told == wanted


def _without_digests(answer: dict[str, Any]) -> dict[str, Any]:
    """An image's digests are the engine's. The context's digest is the plugin's, and stays."""
    found: dict[str, Any] = json.loads(
        re.sub(r"sha256:[0-9a-f]{64}", "sha256:-", json.dumps(answer))
    )
    return found


@pytest.mark.parametrize("record", rows(built=False))
@pytest.mark.usefixtures("no_engine_needed")
def test_a_call_is_answered_as_by_the_plugin(
    record: dict[str, Any], plugin: Plugin, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = unmasked(record, place, 5)
    lay(record, place)
    for name, value in (record.get("environment") or {}).items():
        monkeypatch.setenv(name, value)
    judge(record, answer_of(plugin, record))


@pytest.mark.docker
@pytest.mark.parametrize("record", rows(built=True))
def test_an_image_is_made_as_by_the_plugin(
    record: dict[str, Any],
    plugin: Plugin,
    place: Path,
    registry: ScriptedRegistry,
    tools: toolchain.Toolchain,
) -> None:
    del tools
    record = unmasked(record, place, registry.port)
    given_up = "given up" in record.get("meanwhile", "")
    if given_up:  # A step that BuildKit has no cache of from an earlier run.
        (file,) = record["files"].values()
        file["text"] = file["text"].replace("sleep 6", f"sleep 6 && : {secrets.token_hex(8)}")
    lay(record, place)
    registry.play(record.get("backend"))
    plugin.configure({})
    if given_up:
        plugin.patience = 0.5
        assert answer_of(plugin, record)["error"]["code"] == "CANCELLED"
        registry.await_call("PUT /v2/conformance/manifests/t")
        return
    judge(record, answer_of(plugin, record))
