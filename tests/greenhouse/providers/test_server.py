"""The providers' process: its ports, its answers, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from greenhouse.home import PROJECT_DIR
from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.protocol.resource import Refused
from greenhouse.providers.protocol.wire import encode
from greenhouse.providers.server import PACKAGES, serve
from tests.greenhouse.providers.conftest import free_port
from tests.greenhouse.providers.provider_engine import Engine, Rejected, State

COMMAND = [sys.executable, "-m", "greenhouse.providers", "--ports"]


def test_it_serves_all_packages_until_sigterm(aws: dict[str, str]) -> None:
    ports = ",".join(f"{name}:{free_port()}" for name in PACKAGES)
    with subprocess.Popen(
        [*COMMAND, ports], env={**os.environ, **aws}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == f"PULUMI_DEBUG_PROVIDERS={ports}\n"
        for entry in ports.split(","):
            name, _, port = entry.partition(":")
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = provider_pb2_grpc.ResourceProviderStub(channel)
                stub.Cancel(empty_pb2.Empty())  # It comes at the end of every operation.
                assert stub.GetPluginInfo(empty_pb2.Empty()).version, f"{name} has gone with it"
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def test_a_taken_port_comes_with_what_to_type(aws: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        ended = subprocess.run(
            [*COMMAND, f"aws:{port}"],
            env={**os.environ, **aws},
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"aws needs 127.0.0.1:{port}, which can't be had.",
        "Stop the process that uses it, or choose another port. See which it is:",
        f"    ss -ltnp 'sport = :{port}'",
    ]


def test_two_greenhouses_do_not_share_a_port(aws: dict[str, str], ports: dict[str, int]) -> None:
    with pytest.raises(Refused, match="which can't be had"):
        serve(f"aws:{ports['aws']}", AwsClients.of(aws))


@pytest.mark.parametrize("ports", ["aws", "aws:x", "gcp:4501", ""])
def test_ports_that_make_no_sense_are_refused(aws: dict[str, str], ports: str) -> None:
    with pytest.raises(Refused, match="is not PACKAGE:PORT with one of aws, aws-native, docker"):
        serve(ports, AwsClients.of(aws))


@pytest.mark.parametrize("endpoint", ["", "https://s3.eu-west-1.amazonaws.com"])
def test_no_other_account_is_ever_touched(aws: dict[str, str], endpoint: str) -> None:
    with pytest.raises(Refused, match=f"AWS_ENDPOINT_URL is '{endpoint}', but these providers"):
        AwsClients.of({**aws, "AWS_ENDPOINT_URL": endpoint})


def test_an_account_that_does_not_answer_is_named(aws: dict[str, str]) -> None:
    port, nobody = free_port(), free_port()
    clients = AwsClients.of({**aws, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{nobody}"})
    (server,) = serve(f"aws:{port}", clients)
    try:
        with (
            Engine({"aws": port}) as engine,
            pytest.raises(Rejected, match=r"(?s)may have ended.*make start"),
        ):
            engine.create("aws:s3/bucket:Bucket", bucket="some-bucket")
    finally:
        server.stop(grace=None).wait()


def test_settings_that_would_be_ignored_are_refused(engine: Engine) -> None:
    answer = engine.provider("aws").CheckConfig(
        provider_pb2.CheckRequest(news=encode({"region": "eu-west-1", "profile": "production"}))
    )
    (failure,) = answer.failures
    assert "pulumi config rm aws:profile" in failure.reason


def test_a_resource_that_is_not_there_is_named(engine: Engine) -> None:
    with pytest.raises(Rejected, match=r"greenhouse has no aws:sqs/queue:Queue.*aws:s3/bucket"):
        engine.create("aws:sqs/queue:Queue")


def test_made_but_not_right_is_told_as_such(
    engine: Engine,
) -> None:
    tags = {f"key{n}": "x" for n in range(51)}  # S3 takes 50.
    with pytest.raises(Rejected) as told:
        engine.create("aws:s3/bucket:Bucket", bucket="half-made-bucket", tags=tags)
    error = told.value.__cause__
    assert isinstance(error, grpc.Call)
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert b"ErrorResourceInitFailed" in details, "or the engine forgets a bucket that exists"
    assert b"half-made-bucket" in details
    engine.delete(State("aws:s3/bucket:Bucket", "it", id="half-made-bucket"))


@pytest.fixture
def slow_docker(program: Path) -> str:
    """A PATH on which `docker build` never ends."""
    client = program / "bin" / "docker"
    client.parent.mkdir()
    client.write_text("#!/bin/sh\n[ $1 = build ] || exit 0\necho building; exec sleep 600\n")
    client.chmod(0o755)
    (program / "Dockerfile").write_text("FROM scratch\n")
    return f"{client.parent}{os.pathsep}{os.environ['PATH']}"


def build(engine: Engine) -> None:
    engine.configure("docker")
    engine.create("docker:index/image:Image", imageName="127.0.0.1:5000/x:1")


def test_sigterm_does_not_wait_for_a_build(aws: dict[str, str], slow_docker: str) -> None:
    port = free_port()
    with (
        subprocess.Popen(
            [*COMMAND, f"docker:{port}"],
            env={**os.environ, **aws, "PATH": slow_docker},
            cwd=PROJECT_DIR,
            stdout=subprocess.PIPE,
        ) as process,
        futures.ThreadPoolExecutor(1) as building,
    ):
        assert process.stdout
        process.stdout.readline()
        with Engine({"docker": port}) as engine:
            asked = building.submit(build, engine)
            engine.await_log("building")
            process.terminate()
            with pytest.raises(Rejected):
                asked.result(120)
        assert process.wait(120) == 0
