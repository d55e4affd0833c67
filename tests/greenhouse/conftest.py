"""A real MiniStack, once for all tests, and a cloud of a test's own beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from greenhouse.home import ACCESS_KEY, ACCOUNT, PROJECT_DIR, REGION
from tests.greenhouse.cloud.conftest import (
    SECRET,
    START_SECONDS,
    CloudProcess,
    free_port,
    ministack_client,
    wait_for,
)

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


@pytest.fixture(scope="session")
def ministack_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("ministack"), free_port()
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "0",
        "TMPDIR": str(folder),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "greenhouse.ministack"],
            cwd=PROJECT_DIR,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/_ministack/health", process)
        yield port
    finally:
        process.terminate()
        process.wait(START_SECONDS)


@pytest.fixture
def cloud_of_its_own(ministack_port: int, tmp_path: Path) -> Iterator[CloudProcess]:
    served = CloudProcess(ministack_port, tmp_path / "cloud.sqlite")
    try:
        yield served
    finally:
        if served.process is not None and served.process.poll() is None:
            served.end()


@pytest.fixture(scope="session")
def iot(ministack_port: int) -> IoTClient:
    client: IoTClient = ministack_client("iot", ministack_port)
    return client
