"""Where one greenhouse keeps its things, and the environment that points a shell at it.

A checkout has its own greenhouse in `.greenhouse/`, so two checkouts don't share a cloud. The ports
are chosen once and remembered: a repository's address is `127.0.0.1:PORT/name`, part of every
recipe, and must survive a restart.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from urllib.parse import quote

from greenhouse.files import write_whole

PROJECT_DIR = Path(__file__).resolve().parent.parent
ACCOUNT = "123456789012"
REGION = "eu-west-1"
ACCESS_KEY = "greenhouse"  # names the key; the secret is what is secret
REAL_PACKAGES = ("aws-native", "docker")  # whose plugins work on greenhouse; docs/greenhouse.md
DEVICE_ROLE = "GreengrassV2TokenExchangeRole"  # the name that AWS's own installer gives it


class HomeBroken(Exception):
    """The folder of a greenhouse can't be used; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """One port each, on 127.0.0.1, and the secret key that requests to them are signed with."""

    ministack: int
    cloud: int
    aws: int
    aws_native: int
    docker: int
    secret: str = field(repr=False)

    def stand_ins(self, but: Collection[str] = ()) -> str:
        """The providers' ports as PULUMI_DEBUG_PROVIDERS has them."""
        ports = {"aws": self.aws, "aws-native": self.aws_native, "docker": self.docker}
        return ",".join(f"{name}:{port}" for name, port in ports.items() if name not in but)


@dataclass(frozen=True)
class Home:
    """The folder of one greenhouse."""

    root: Path

    @classmethod
    def find(cls) -> Home:
        """`$GREENHOUSE_HOME`, else `.greenhouse` of this checkout."""
        return cls(Path(os.environ.get("GREENHOUSE_HOME") or PROJECT_DIR / ".greenhouse").resolve())

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def stacks(self) -> Path:
        """Pulumi's file backend."""
        return self.root / "pulumi"

    @property
    def pulumi(self) -> Path:
        """Pulumi's own folder, PULUMI_HOME: it tells this greenhouse's `pulumi` from others."""
        return self.root / "pulumi-home"

    @property
    def plugins(self) -> Path:
        """The file that says which plugins the stacks of this greenhouse are made with."""
        return self.root / "plugins"

    def real_plugins(self) -> bool:
        """Whether the CLI takes real plugins, where they work here."""
        return self.plugins.is_file() and self.plugins.read_text().strip() == "real"

    def device(self, thing: str) -> Path:
        """The Greengrass root folder of one core device."""
        return self.root / "devices" / thing

    def things(self) -> list[str]:
        """The core devices that this greenhouse was started with."""
        folder = self.root / "devices"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    @property
    def _settings(self) -> Path:
        return self.root / "settings.json"

    def exists(self) -> bool:
        return self._settings.is_file()

    def ports(self) -> Ports:
        """The remembered ports and key; they are chosen and remembered the first time."""
        self.close()
        if self.exists():
            try:
                return Ports(**json.loads(self._settings.read_text()))
            except (ValueError, TypeError) as error:
                raise HomeBroken(
                    f"{self._settings} can't be read ({error}), and the ports and the key of this"
                    " greenhouse are in it. Throw it away and begin anew: make clean, then make up"
                ) from error
        names = [one.name for one in fields(Ports) if one.name != "secret"]
        chosen: dict[str, int] = dict(zip(names, _free_ports(len(names)), strict=True))
        ports = Ports(**chosen, secret=secrets.token_urlsafe(30))
        write_whole(self._settings, json.dumps(asdict(ports), indent=2) + "\n")
        return ports

    def close(self) -> None:
        """Make the folder its owner's alone: with it everything below is out of others' reach.

        Raises HomeBroken when it is another user's.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(folder).st_uid != os.geteuid():
                raise HomeBroken(
                    f"{self.root} belongs to another user, who could read and change what"
                    " greenhouse keeps there. Give it a folder of your own:"
                    " export GREENHOUSE_HOME=~/.greenhouse"
                )
            os.fchmod(folder, 0o700)
        finally:
            os.close(folder)


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for sock in held:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in held]
    finally:
        for sock in held:
            sock.close()


def aws_environment(ports: Ports) -> dict[str, str]:
    """What boto3 needs to talk to this account: its key pair, loopback endpoints.

    No region: as on AWS, who asks has to say it.
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
    """The real Pulumi engine on a file backend, with our providers attached to it."""
    real = home.real_plugins()
    return {
        "PULUMI_HOME": str(home.pulumi),
        # without sidecar files, which a killed CLI leaves empty: no command reads the stack then
        "PULUMI_BACKEND_URL": f"file://{quote(str(home.stacks))}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE": "",  # nothing in a local stack is worth one
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_OPTION_SKIP_PLUGIN_PRE_INSTALL": "true",
        "PULUMI_DEBUG_PROVIDERS": ports.stand_ins(but=REAL_PACKAGES if real else ()),
        # both SDKs of the real plugins try an unreachable endpoint 25 times otherwise
        **({"AWS_MAX_ATTEMPTS": "3"} if real else {}),
    }


def shell_environment(
    home: Home, *, path: list[Path], docker_host: str | None, base: Mapping[str, str]
) -> dict[str, str]:
    """Everything `eval "$(make -s env)"` sets; `path` comes first on PATH."""
    ports = home.ports()
    direct = base.get("no_proxy") or base.get("NO_PROXY") or ""
    hosts = ",".join(dict.fromkeys([*filter(None, direct.split(",")), "127.0.0.1", "localhost"]))
    folders = [str(folder) for folder in path]
    rest = [part for part in base.get("PATH", "").split(os.pathsep) if part not in folders]
    return {
        "PATH": os.pathsep.join(folders + rest),
        "no_proxy": hosts,  # Python reads the one, others only the other
        "NO_PROXY": hosts,
        "DOCKER_BUILDKIT": "1",  # also for clients that don't use it unasked
        **({"DOCKER_HOST": docker_host} if docker_host else {}),
        **aws_environment(ports),
        **pulumi_environment(home, ports),
        # the way to a device's disk, which on a real one is ssh
        "FLEET_LOGS": (
            f"tail -n {{lines}} {shlex.quote(str(home.root))}/devices/{{device}}"
            "/logs/{component}.log"
        ),
    }
