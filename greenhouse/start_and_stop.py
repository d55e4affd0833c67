"""Starts and stops the processes of a greenhouse in order, and checks when each is ready."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path

import psutil

from greenhouse import account
from greenhouse.device.docker_socket import socket_of
from greenhouse.device.ipc.broker import ShortFolder
from greenhouse.environment import aws_environment
from greenhouse.faults import Faults
from greenhouse.home import ACCOUNT, PROJECT_DIR, REGION, Home
from greenhouse.processes import Processes, ProcessFailed
from greenhouse.updates.orphans import end_orphans
from infra.errors import told


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310  # our own loopback URL
            return bool(response.status == 200)
    except OSError:
        return False


def _listening(process: psutil.Process | None, ports: set[int]) -> bool:
    if process is None:
        return False
    seen = {
        connection.laddr.port
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    return ports <= seen


def _heard(engine: Path, root: Path) -> bool:
    """Whether a device's view of the Docker engine is in the state that it should have."""
    return engine.exists() or Faults(root).detail("engine") is not None


def refuse_what_forgot(processes: Processes, state: Path) -> None:
    """Raise ProcessFailed if MiniStack was killed: it saves its state only when it ends in order.

    An orderly shutdown of the machine is no such case: MiniStack saves its state, and its process
    record is older than that.
    """
    if "ministack" not in processes.names() or processes.find("ministack"):
        return
    kept = max((file.stat().st_mtime for file in state.glob("*.json")), default=0.0)
    if kept < processes.started("ministack").timestamp():
        raise ProcessFailed(
            told(
                "ministack was killed before it could save its state: the buckets, images and roles"
                " of this greenhouse are gone.",
                "Its devices and Pulumi's state still need them. Remove the greenhouse, and start a"
                " new one:",
                "make clean && make up",
            )
        )


def start_greenhouse(
    home: Home, env: dict[str, str], things: list[str], *, flavour: str | None = None
) -> None:
    """Start the cloud, the providers and, for each thing, a core device with its engine.

    Processes that run already are not touched. `flavour` (java, lite or lite-252) is for new
    devices. A device that was started before keeps its flavour.
    """
    ports = home.ports()
    aws = aws_environment(ports)
    processes = Processes(run=home.run, logs=home.logs)
    python = sys.executable
    ministack = home.root / "ministack"
    (ministack / "tmp").mkdir(parents=True, exist_ok=True)
    home.stacks.mkdir(exist_ok=True)
    refuse_what_forgot(processes, ministack / "state")
    processes.start(
        "ministack",
        [python, "-m", "greenhouse.ministack"],
        env={
            **env,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(ports.ministack),
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": REGION,
            "IOT_MTLS_ENABLED": "0",  # Nothing here uses MQTT.
            "SFTP_ENABLED": "0",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(ministack / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(ministack / "s3"),
            "TMPDIR": str(ministack / "tmp"),
        },
        cwd=PROJECT_DIR,
        ports=[ports.ministack],
        ready=lambda: _answers(f"{aws['AWS_ENDPOINT_URL']}/_ministack/health"),
    )
    cloud_options = ["--port", str(ports.cloud), "--store", str(home.root / "cloud.sqlite")]
    processes.start(
        "cloud",
        [python, "-m", "greenhouse.cloud", *cloud_options],
        env=env,
        cwd=PROJECT_DIR,
        ports=[ports.cloud],
        ready=lambda: _answers(f"{aws['AWS_ENDPOINT_URL_GREENGRASSV2']}/health"),
    )
    account.set_up(ports, things)
    temporary = home.root / "tmp"
    temporary.mkdir(exist_ok=True)
    provider_ports = [ports.aws, ports.aws_native, ports.docker]
    processes.start(
        "providers",
        [python, "-m", "greenhouse.providers", "--ports", ports.stand_ins()],
        # A killed build leaves folders, and one of them holds the login to the registry.
        env={**env, "TMPDIR": str(temporary)},
        cwd=PROJECT_DIR,
        ports=provider_ports,
        ready=lambda: _listening(processes.find("providers"), set(provider_ports)),
    )
    client = account.greengrass(ports)

    def reported(thing: str) -> bool:
        """Whether the device has reported since its start. An older report may be out of date."""
        try:
            core = client.get_core_device(coreDeviceThingName=thing)
        except client.exceptions.ResourceNotFoundException:
            return False
        return core["lastStatusUpdateTimestamp"] > processes.started(f"device-{thing}")

    for thing in things:
        root = str(home.device(thing))
        engine = socket_of(home.run, thing)
        processes.start(
            f"engine-{thing}",
            [python, "-m", "greenhouse.device.docker_socket", thing, root, str(engine)],
            env=env,
            cwd=PROJECT_DIR,
            ready=partial(_heard, engine, home.device(thing)),
        )
        processes.start(
            f"device-{thing}",
            [
                *[python, "-m", "greenhouse.device", "--thing", thing, "--root", root],
                *(["--flavour", flavour] if flavour else []),
            ],
            env={**env, "DOCKER_HOST": f"unix://{engine}"},
            cwd=PROJECT_DIR,
            umask=0o022,  # A container's own user reads its artifacts, as on every core device.
            ready=partial(reported, thing),
        )


def bring_up(
    home: Home, env: dict[str, str], things: list[str], *, flavour: str | None = None
) -> None:
    """Start what doesn't run, with the tenant on each device. If one part fails, stop all of it.

    A part that stayed would hold ports and the device's name, and nobody would look for it.
    """
    processes = Processes(run=home.run, logs=home.logs)
    before = {name for name in processes.names() if processes.find(name)}
    try:
        start_greenhouse(home, env, things, flavour=flavour)
        for thing in things:
            account.settle_tenant(home.ports(), thing)
    except BaseException:  # This includes ^C.
        stop_greenhouse(home, but=before)
        raise


def stop_greenhouse(home: Home, *, but: AbstractSet[str] = frozenset()) -> None:
    """Stop the devices first: they stop their components while the cloud still listens.

    It also ends what a killed `pulumi` has left.
    """
    processes = Processes(run=home.run, logs=home.logs)
    for name in sorted(processes.names(), key=lambda name: not name.startswith("device-")):
        if name not in but:
            processes.stop(name)
    end_orphans(home.pulumi)
    if not but:  # Otherwise some of them are in use.
        for root in (home.run, *map(home.device, home.things())):
            ShortFolder.forget(root)
