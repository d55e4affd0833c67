"""A real cloud beside the MiniStack of the folder above, in its own process, once for all tests.

Tests share both, so each makes its own names with `unique`.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials

from greenhouse.environment import aws_environment
from greenhouse.home import ACCESS_KEY, PROJECT_DIR, REGION, Ports, free_ports
from greenhouse.signatures import sign

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_s3 import S3Client

START_SECONDS = 120.0
SECRET = "of-the-tests"
KEY = Credentials(ACCESS_KEY, SECRET)
NO_PROVIDERS: Any = {"aws": 0, "aws_native": 0, "docker": 0, "secret": SECRET}


def free_port() -> int:
    return free_ports(1)[0]


def http(
    method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body, also of a refusal."""
    request = urllib.request.Request(  # noqa: S310  # loopback
        url, data=body, method=method, headers=headers or {}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310  # loopback
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the URL answers 200. Fails if its process has ended."""
    pause, deadline = threading.Event(), time.monotonic() + START_SECONDS
    while True:
        try:
            if http("GET", url)[0] == 200:
                return
        except OSError:
            pass
        assert process.poll() is None, f"{url}: its process ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{url} did not answer in {START_SECONDS} s"
        pause.wait(0.02)


@dataclass
class CloudProcess:
    """`python -m greenhouse.cloud`, to be killed and started again on the same store."""

    ministack_port: int
    store: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.store.with_suffix(".log")

    @property
    def ports(self) -> Ports:
        return Ports(ministack=self.ministack_port, cloud=self.port, **NO_PROVIDERS)

    def environment(self) -> dict[str, str]:
        return {**os.environ, **aws_environment(self.ports)}

    def refused(self) -> str:
        """Why it doesn't start, in its own words."""
        done = subprocess.run(
            self.command(), env=self.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        return done.stderr

    def command(self) -> list[str]:
        options = ["--port", str(self.port), "--store", str(self.store)]
        return [sys.executable, "-m", "greenhouse.cloud", *options]

    def start(self) -> CloudProcess:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=PROJECT_DIR, env=self.environment(), stdout=log, stderr=log
            )
        wait_for(f"{self.url}/health", self.process)
        return self

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(with_signal)
        return self.ends()

    def ends(self) -> int:
        assert self.process is not None
        return self.process.wait(START_SECONDS)

    def client(self, *, retries: int = 4) -> GreengrassV2Client:
        return boto3.client(
            "greengrassv2",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            config=Config(retries={"max_attempts": retries}),
        )

    def raw(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
        """A call of the owner without boto3's own checks."""
        given = None if body is None else json.dumps(body).encode()
        url = f"{self.url}{path}"
        headers = sign(
            KEY,
            region=REGION,
            service="greengrass",
            method=method,
            url=url,
            body=given or b"",
            headers={"content-type": "application/json"},
        )
        status, headers, text = http(method, url, given, headers)
        return status, headers, json.loads(text or "null")


@pytest.fixture(scope="session")
def cloud(ministack_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    served = CloudProcess(ministack_port, tmp_path_factory.mktemp("cloud") / "cloud.sqlite")
    try:
        yield served.start()
    finally:
        assert served.end() == 0, "SIGTERM is the ordinary end"


@pytest.fixture(scope="session")
def greengrass(cloud: CloudProcess) -> GreengrassV2Client:
    return cloud.client()


def ministack_client(service: Any, port: int) -> Any:
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
    )


@pytest.fixture(scope="session")
def s3(ministack_port: int) -> S3Client:
    client: S3Client = ministack_client("s3", ministack_port)
    return client


@pytest.fixture
def unique() -> Callable[[str], str]:
    """A name that no other test uses."""
    run, count = secrets.token_hex(4), itertools.count()
    return lambda word: f"{word}-{run}-{next(count)}"


@dataclass
class Device:
    """A core device as the cloud sees it: a registered thing that polls and reports."""

    cloud: CloudProcess
    thing: str
    arn: str

    def poll(self, *, seen: int = 0, wait: float = 0) -> dict[str, Any]:
        path = f"/device/{self.thing}/deployments?seen={seen}&wait={wait}"
        status, _, answer = self.cloud.raw("GET", path)
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    def deployments(self) -> list[str]:
        return [one["deploymentId"] for one in self.poll()["deployments"]]

    def report(
        self, *components: dict[str, Any], status: str = "HEALTHY", **deployments: str
    ) -> None:
        self.send(
            {
                "core": {
                    "platform": "linux",
                    "architecture": "amd64",
                    "coreVersion": "2.18.0",
                    "runtime": "aws_nucleus_classic",
                    "status": status,
                },
                "components": list(components),
                "effectiveDeployments": [
                    {"deploymentId": one, "coreDeviceExecutionStatus": state}
                    for one, state in deployments.items()
                ],
            }
        )

    def send(self, report: dict[str, Any]) -> None:
        status, _, answer = self.cloud.raw("POST", f"/device/{self.thing}/report", report)
        assert status == 200, answer


@pytest.fixture
def new_device(
    cloud: CloudProcess, iot: IoTClient, unique: Callable[[str], str]
) -> Callable[[], Device]:
    """Registers a thing. It becomes a core device with its first report."""

    def make() -> Device:
        thing = unique("thing")
        return Device(cloud, thing, iot.create_thing(thingName=thing)["thingArn"])

    return make


@pytest.fixture
def device(new_device: Callable[[], Device]) -> Device:
    return new_device()


@pytest.fixture
def recipe(unique: Callable[[str], str]) -> Callable[..., dict[str, Any]]:
    """A recipe that the cloud takes, with a test's changes."""

    def make(**changes: Any) -> dict[str, Any]:
        return {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": unique("com.example.one"),
            "ComponentVersion": "1.0.0",
            "Manifests": [
                {
                    "Platform": {"os": "linux", "runtime": "*"},
                    "Lifecycle": {"run": "exec sleep 60"},
                    "Artifacts": [],
                }
            ],
            **changes,
        }

    return make


@pytest.fixture
def component(
    greengrass: GreengrassV2Client, recipe: Callable[..., dict[str, Any]]
) -> Callable[..., str]:
    """Creates a component version and returns the component's name."""

    def make(**changes: Any) -> str:
        text = json.dumps(recipe(**changes)).encode()
        return greengrass.create_component_version(inlineRecipe=text)["componentName"]

    return make


@pytest.fixture
def group(iot: IoTClient, unique: Callable[[str], str]) -> str:
    return iot.create_thing_group(thingGroupName=unique("group"))["thingGroupArn"]


def deploy(client: GreengrassV2Client, target: str, *names: str, **more: Any) -> str:
    return client.create_deployment(
        targetArn=target,
        components={name: {"componentVersion": "1.0.0"} for name in names},
        **more,
    )["deploymentId"]


def status(client: GreengrassV2Client, deployment: str) -> str:
    return client.get_deployment(deploymentId=deployment)["deploymentStatus"]
