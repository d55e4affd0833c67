"""Real servers on free ports (MiniStack, our cloud, our providers), and an engine with a memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # Otherwise it reports every closed connection.

from greenhouse.home import PROJECT_DIR, free_ports
from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.server import PACKAGES, serve
from tests.greenhouse.providers.provider_engine import Engine

REGION = "eu-west-1"


def free_port() -> int:
    return free_ports(1)[0]


@contextmanager
def running(argv: list[str], env: dict[str, str], health: str) -> Iterator[None]:
    """A server that answers at `health`, until the block ends."""
    with subprocess.Popen(
        argv, env={**os.environ, **env}, cwd=PROJECT_DIR, stdout=subprocess.DEVNULL
    ) as process:
        try:
            _await(health, process)
            yield
        finally:
            process.terminate()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    pause, deadline = threading.Event(), time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended"
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310  # our own loopback URL
                return
        except OSError:
            pause.wait(0.05)  # Without a pause, the question would take the server's processor.
    raise AssertionError(f"nothing at {url} after 120 s")


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an account with S3, ECR, IAM, STS and Greengrass."""
    folder = tmp_path_factory.mktemp("account")
    ministack, cloud = free_port(), free_port()
    env = {
        "AWS_ACCESS_KEY_ID": "greenhouse",
        "AWS_SECRET_ACCESS_KEY": "greenhouse",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ministack}",
        "AWS_ENDPOINT_URL_GREENGRASSV2": f"http://127.0.0.1:{cloud}",
        "AWS_ENDPOINT_URL_CLOUDCONTROL": f"http://127.0.0.1:{cloud}",
    }
    settings = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(ministack),
        "MINISTACK_ACCOUNT_ID": "123456789012",
        "MINISTACK_REGION": REGION,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "0",
        "TMPDIR": str(folder),
    }
    options = ["--port", str(cloud), "--store", str(folder / "cloud.sqlite")]
    with (
        running(
            [sys.executable, "-m", "greenhouse.ministack"],
            env | settings,
            f"{env['AWS_ENDPOINT_URL']}/_ministack/health",
        ),
        running(
            [sys.executable, "-m", "greenhouse.cloud", *options],
            env,
            f"{env['AWS_ENDPOINT_URL_GREENGRASSV2']}/health",
        ),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in env.items():
            patch.setenv(name, value)
        boto3.setup_default_session()
        yield env


@pytest.fixture(scope="session")
def ports(aws: dict[str, str]) -> Iterator[dict[str, int]]:
    """Our providers' ports by package."""
    chosen = {name: free_port() for name in PACKAGES}
    servers = serve(",".join(f"{name}:{port}" for name, port in chosen.items()), AwsClients.of(aws))
    yield chosen
    for server in servers:
        server.stop(grace=None).wait()


@pytest.fixture
def engine(ports: dict[str, int]) -> Iterator[Engine]:
    """An engine of its own for each test."""
    with Engine(ports) as ours:
        ours.configure("aws-native")
        yield ours


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program's folder. This process plays the process that runs in it."""
    (tmp_path / "Pulumi.yaml").write_text("name: program\nruntime: python\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path
