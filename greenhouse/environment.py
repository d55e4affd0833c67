"""The variables that point a shell, boto3 and Pulumi at one greenhouse."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from greenhouse.home import ACCESS_KEY, REAL_PACKAGES, Home, Ports


def aws_environment(ports: Ports) -> dict[str, str]:
    """What boto3 needs to talk to this account: its key pair and loopback endpoints.

    It sets no region: as on AWS, the caller has to name one.
    """
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ports.secret,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports.ministack}",
        "AWS_ENDPOINT_URL_GREENGRASSV2": f"http://127.0.0.1:{ports.cloud}",
        "AWS_ENDPOINT_URL_CLOUDCONTROL": f"http://127.0.0.1:{ports.cloud}",
    }


def pulumi_environment(home: Home, ports: Ports) -> dict[str, str]:
    """The environment of the real Pulumi engine, with a file backend and our providers."""
    real = home.real_plugins()
    return {
        "PULUMI_HOME": str(home.pulumi),
        # No sidecar files: a killed CLI leaves them empty, and then no command can read the stack.
        "PULUMI_BACKEND_URL": f"file://{quote(str(home.stacks))}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE": "",  # Nothing in a local stack is worth a passphrase.
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_OPTION_SKIP_PLUGIN_PRE_INSTALL": "true",
        "PULUMI_DEBUG_PROVIDERS": ports.stand_ins(but=REAL_PACKAGES if real else ()),
        # Without this, both SDKs of the real plugins try an unreachable endpoint 25 times.
        **({"AWS_MAX_ATTEMPTS": "3"} if real else {}),
    }


def shell_environment(
    home: Home, *, path: list[Path], docker_host: str | None, base: Mapping[str, str]
) -> dict[str, str]:
    """Every variable that `eval "$(make -s env)"` sets. The folder `path` comes first on PATH."""
    ports = home.ports()
    direct = base.get("no_proxy") or base.get("NO_PROXY") or ""
    hosts = ",".join(dict.fromkeys([*filter(None, direct.split(",")), "127.0.0.1", "localhost"]))
    folders = [str(folder) for folder in path]
    rest = [part for part in base.get("PATH", "").split(os.pathsep) if part not in folders]
    return {
        "PATH": os.pathsep.join(folders + rest),
        "no_proxy": hosts,  # Python reads this spelling, others read only the other.
        "NO_PROXY": hosts,
        "DOCKER_BUILDKIT": "1",  # This also reaches clients that don't use BuildKit by default.
        **({"DOCKER_HOST": docker_host} if docker_host else {}),
        **aws_environment(ports),
        **pulumi_environment(home, ports),
        # It gives access to a device's disk, as ssh does on a real device.
        "FLEET_LOGS": (
            f"tail -n {{lines}} {shlex.quote(str(home.root))}/devices/{{device}}"
            "/logs/{component}.log"
        ),
    }
