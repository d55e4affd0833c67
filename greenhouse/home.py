"""The folder of one greenhouse.

A checkout has its own greenhouse in `.greenhouse/`, so two checkouts don't share a cloud. The ports
are chosen once and remembered. A repository's address is `127.0.0.1:PORT/name`. It is part of every
recipe, so it must survive a restart.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from greenhouse.files import write_whole
from infra.errors import told

PROJECT_DIR = Path(__file__).resolve().parent.parent
ACCOUNT = "123456789012"
REGION = "eu-west-1"
ACCESS_KEY = "greenhouse"  # It names the key. Only the secret key is secret.
REAL_PACKAGES = ("aws-native", "docker")  # See docs/what-greenhouse-models.md.
DEVICE_ROLE = "GreengrassV2TokenExchangeRole"  # AWS's own installer gives it this name.


class HomeBroken(Exception):
    """The folder of a greenhouse can't be used. The message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports on 127.0.0.1, and the secret key with which requests to them are signed."""

    ministack: int
    cloud: int
    aws: int
    aws_native: int
    docker: int
    secret: str = field(repr=False)

    def stand_ins(self, but: Collection[str] = ()) -> str:
        """The providers' ports as the variable PULUMI_DEBUG_PROVIDERS takes them."""
        ports = {"aws": self.aws, "aws-native": self.aws_native, "docker": self.docker}
        return ",".join(f"{name}:{port}" for name, port in ports.items() if name not in but)


@dataclass(frozen=True)
class Home:
    """The folder of one greenhouse."""

    root: Path

    @classmethod
    def find(cls) -> Home:
        """The folder `$GREENHOUSE_HOME`.

        Without the variable, the folder `.greenhouse` of this checkout.
        """
        return cls(Path(os.environ.get("GREENHOUSE_HOME") or PROJECT_DIR / ".greenhouse").resolve())

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def stacks(self) -> Path:
        """The folder of Pulumi's file backend."""
        return self.root / "pulumi"

    @property
    def pulumi(self) -> Path:
        """Pulumi's own folder, PULUMI_HOME. It tells this greenhouse's `pulumi` from others."""
        return self.root / "pulumi-home"

    @property
    def plugins(self) -> Path:
        """The file that says with which plugins the stacks of this greenhouse were made."""
        return self.root / "plugins"

    def real_plugins(self) -> bool:
        """Whether the CLI uses the real plugins for the packages that work here."""
        return self.plugins.is_file() and self.plugins.read_text().strip() == "real"

    def device(self, thing: str) -> Path:
        """The Greengrass root folder of one core device."""
        return self.root / "devices" / thing

    def things(self) -> list[str]:
        """The core devices with which this greenhouse was started."""
        folder = self.root / "devices"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    @property
    def _settings(self) -> Path:
        return self.root / "settings.json"

    def exists(self) -> bool:
        return self._settings.is_file()

    def require(self) -> None:
        """Raise HomeBroken if there is no greenhouse. Who only asks must not begin one."""
        if not self.exists():
            raise HomeBroken(told("there is no greenhouse here yet.", "", "make up"))

    def ports(self) -> Ports:
        """The remembered ports and key. The first call chooses and remembers them."""
        self.close()
        if self.exists():
            try:
                return Ports(**json.loads(self._settings.read_text()))
            except (ValueError, TypeError) as error:
                raise HomeBroken(
                    told(
                        f"{self._settings} can't be read: {error}.",
                        "It holds the ports and the key of this greenhouse. Remove the greenhouse,"
                        " and start a new one:",
                        "make clean && make up",
                    )
                ) from error
        names = [one.name for one in fields(Ports) if one.name != "secret"]
        chosen: dict[str, int] = dict(zip(names, free_ports(len(names)), strict=True))
        ports = Ports(**chosen, secret=secrets.token_urlsafe(30))
        write_whole(self._settings, json.dumps(asdict(ports), indent=2) + "\n")
        return ports

    def close(self) -> None:
        """Take the rights of others from the folder, so that they can't reach anything below it.

        Raises HomeBroken if the folder belongs to another user.
        """
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(folder).st_uid != os.geteuid():
                raise HomeBroken(
                    told(
                        f"{self.root} belongs to another user.",
                        "That user could read and change its files. Use a folder of your own:",
                        "export GREENHOUSE_HOME=~/.greenhouse",
                    )
                )
            os.fchmod(folder, 0o700)
        finally:
            os.close(folder)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing uses.

    They lie below those that the kernel gives to connections (ip_local_port_range in ip(7)), so no
    connection takes them before greenhouse listens, or while it is down.
    """
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    below = range(min(10_000, given // 2), given)
    found: list[int] = []
    for port in random.sample(below, len(below)):
        if len(found) == count:
            break
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            found.append(port)
    return found
