"""Images and containers on the real engine, as far as a device handles them."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from greenhouse import toolchain
from greenhouse.device.downloads import docker
from greenhouse.device.downloads.role import Role
from greenhouse.device.errors import DeploymentFailed
from greenhouse.faults import Faults
from tests.greenhouse.device.workbench import THING, Bench, FakeIam, recipe

pytestmark = pytest.mark.docker

BASE = "greenhouse/runtime:bookworm"
MANAGER = "aws.greengrass.DockerApplicationManager"
ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}

# A component in a container: it connects over the mounted socket with the token from its
# environment, reports the result, and stays until it gets a signal.
CLIENT = """
import json, os, signal, socket, struct, sys, zlib
def header(name, value):
    start = bytes([len(name)]) + name.encode()
    if isinstance(value, int):
        return start + struct.pack('>Bi', 4, value)
    return start + struct.pack('>BH', 7, len(value)) + value.encode()
named = {':version': '0.1.0', ':message-type': 4, ':message-flags': 0, ':stream-id': 0}
headers = b''.join(header(name, value) for name, value in named.items())
body = json.dumps({'authToken': os.environ['SVCUID']}).encode()
prelude = struct.pack('>II', 16 + len(headers) + len(body), len(headers))
data = prelude + struct.pack('>I', zlib.crc32(prelude)) + headers + body
line = socket.socket(socket.AF_UNIX)
line.connect(os.environ['AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT'])
line.sendall(data + struct.pack('>I', zlib.crc32(data)))
accepted = b':message-flags\\x04\\x00\\x00\\x00\\x01' in line.recv(4096)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('uid', os.getuid(), 'accepted', accepted, flush=True)
signal.pause()
"""


@pytest.fixture
def image(tools: toolchain.Toolchain) -> Iterator[str]:
    """A name of its own for the base image, removed afterwards."""
    assert tools.path, "docker comes from the toolchain"
    name = f"device-test-{secrets.token_hex(4)}:1"
    subprocess.run(["docker", "tag", BASE, name], check=True)
    yield name
    subprocess.run(["docker", "rmi", name], check=False, capture_output=True)


def role(*statements: dict[str, Any]) -> Role:
    return Role(FakeIam(*statements), "role")  # type: ignore[arg-type]  # a fake of few calls


class GaveUp(Exception):
    """A test's pause raises it, as the device would go on without end."""


def fetch(image: str, *statements: dict[str, Any], faults: Faults, tries: int = 1) -> list[float]:
    """Pull the image as the device does. Returns the pauses between the attempts."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == tries:
            raise GaveUp

    wanted = docker.Image.parse(f"docker:{image}")
    with suppress(GaveUp):
        docker.fetch(
            wanted, component="app-1.0.0", role=role(*statements), faults=faults, pause=pause
        )
    return pauses


def test_an_image_that_is_there_is_not_pulled_and_goes_with_its_version(
    image: str, tmp_path: Path
) -> None:
    faults = Faults(tmp_path)
    assert fetch(image, faults=faults) == []
    faults.set("pull-fails:denied")
    with pytest.raises(DeploymentFailed) as failure:
        fetch(image, faults=faults)
    assert failure.value.stack[-1] == "DOCKER_PULL_ERROR"
    assert f"'docker:{image}' for component app-1.0.0, reason: " in str(failure.value)
    assert "requested access to the resource is denied" in str(failure.value)
    docker.remove(image)
    assert not docker.present(image)


def test_a_registry_that_cannot_be_reached_is_asked_again_and_again(
    image: str, tmp_path: Path
) -> None:
    """A device on a bad line finishes its deployment. The program that waits needs a time-out."""
    faults = Faults(tmp_path)
    nobody = "127.0.0.1:9/project/app:1"
    assert fetch(nobody, ALLOW_ALL, faults=faults, tries=3) == [60, 120, 240]
    faults.set("pull-fails:timeout")
    assert fetch(image, faults=faults, tries=8)[-1] == 64 * 60


@pytest.mark.parametrize(
    ("granted", "missing", "kind"),
    [
        ((), "ecr:GetAuthorizationToken", "PERMISSION_ERROR"),
        (("ecr:GetAuthorizationToken",), "ecr:BatchGetImage", "DEPENDENCY_ERROR"),
        (("ecr:GetA*", "ecr:BatchGetImage"), "ecr:GetDownloadUrlForLayer", "DEPENDENCY_ERROR"),
    ],
)
def test_a_pull_from_a_private_repository_takes_the_roles_rights(
    tools: toolchain.Toolchain,
    tmp_path: Path,
    granted: tuple[str, ...],
    missing: str,
    kind: str,
) -> None:
    assert tools.path, "docker comes from the toolchain"
    wanted = f"127.0.0.1:9/project/app@sha256:{'0' * 64}"
    allowed = {"Effect": "Allow", "Action": list(granted), "Resource": "*"}
    with pytest.raises(DeploymentFailed, match=missing) as failure:
        fetch(wanted, allowed, faults=Faults(tmp_path))
    assert failure.value.types[-1] == kind, "a login that is refused, or a pull that fails"


def test_a_component_in_a_container_speaks_ipc_and_ends_with_its_component(
    bench: Bench, image: str
) -> None:
    name = f"app.{THING}.{secrets.token_hex(4)}"
    socket = "$AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
    script = (
        f"docker rm -f {name} >/dev/null 2>&1 || true; exec docker run --rm --init --name {name}"
        " --network none --read-only --cap-drop ALL --user 65532:65532"
        f" -v {socket}:{socket} -e SVCUID -e AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
        f' --entrypoint /usr/bin/python3 {image} -c "{CLIENT}"'
    )
    lifecycle = {"run": script, "shutdown": f"docker stop -t 10 {name} || true"}
    bench.cloud.publish(recipe(MANAGER))
    bench.cloud.publish(
        recipe(
            "app",
            lifecycle=lifecycle,
            artifacts=[{"Uri": f"docker:{image}"}],
            ComponentDependencies={MANAGER: {"VersionRequirement": ">=1.0.0"}},
        )
    )

    def containers() -> str:
        return subprocess.run(
            ["docker", "ps", "--all", "--quiet", "--filter", f"name={name}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": "1.0.0"})
            await bench.until(
                lambda: "uid 65532 accepted True" in bench.output("app"),
                f"the container connects: {bench.output('app')}",
            )
            assert containers()
        assert not containers()

    asyncio.run(story())
