"""Runs the docker client for the plugin's two tasks: build this image, push that image.

The client brings BuildKit's session along. Its last line in a failure is the engine's own error,
which is all that the plugin says. Here the lines before it are shown as well.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from greenhouse.providers.protocol.resource import Refused
from greenhouse.providers.protocol.session import Call, Session
from greenhouse.providers.protocol.wire import Properties
from infra.errors import told

# Lines of a step that tell people nothing.
_DIGEST_LINE = re.compile(r"#\d+ sha256:[0-9a-f]{64}( |$)")
_TAIL = 30  # So many lines of a failed build are shown.
_PING_SECONDS = 10
_SYSTEM_SOCKET = "unix:///var/run/docker.sock"
_OWN_SOCKETS = (".docker/run/docker.sock", ".docker/desktop/docker.sock")
_running: set[subprocess.Popen[str]] = set()
_BUILDERS = {"BuilderV1": "0", "BuilderBuildKit": "1"}


@dataclass(frozen=True, kw_only=True)
class Client:
    """A docker client with the engine that the plugin would use."""

    host: str
    environment: Mapping[str, str]
    """The variables of the process that asks, which the plugin would have inherited."""

    @classmethod
    def find(cls, session: Session, host: str | None) -> Client:
        """The engine of the provider's config, else DOCKER_HOST, else a default socket.

        The client's current context doesn't count, because the plugin doesn't look at it.
        """
        environment = session.environment
        given = host if host is not None else environment.get("DOCKER_HOST") or None
        if given is not None and "://" not in given:
            raise Refused(f"unable to parse docker host `{given}`")
        own = [f"unix://{_home(environment) / name}" for name in _OWN_SOCKETS]
        for one in [given] if given is not None else [_SYSTEM_SOCKET, *own]:
            client = cls(host=one, environment=environment)
            if problem := client.unreachable():
                session.warn(
                    told(
                        f"error connecting to docker daemon at {one}: {problem}.",
                        "Start the engine (make up does), set DOCKER_HOST, or join the group"
                        " docker. Then start greenhouse again:",
                        "python -m greenhouse stop && make start",
                    )
                )
            else:
                return client
        raise Refused("failed to connect to any docker daemon")

    def unreachable(self) -> str:
        """Why the engine doesn't answer. Empty if it does."""
        try:
            asked = subprocess.run(
                [_executable(), "version", "--format", "{{.Server.Version}}"],
                env={**os.environ, "DOCKER_HOST": self.host},
                capture_output=True,
                text=True,
                timeout=_PING_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {_PING_SECONDS} s"
        return asked.stderr.strip() if asked.returncode else ""

    def build(self, call: Call, inputs: Properties) -> str:
        """Build the image of these checked inputs, and return its id in the engine."""
        build = inputs["build"]
        arguments = build.get("args", {})
        options = {
            "--tag": [inputs["imageName"]],
            "--file": [str(call.path(build["dockerfile"]))],
            "--platform": [build["platform"]],
            "--target": [build["target"]] if "target" in build else [],
            "--network": [build["network"]] if "network" in build else [],
            "--add-host": build.get("addHosts", []),
            "--build-arg": list(arguments),  # The values go by the environment, as argv is public.
        }
        words = [word for name, given in options.items() for one in given for word in (name, one)]
        call.status("Starting Docker build")
        with self._logged_in(inputs) as login:
            self._run(
                call,
                ["build", *words, str(call.path(build["context"]))],
                {
                    **arguments,
                    "DOCKER_BUILDKIT": _BUILDERS[build.get("builderVersion", "BuilderBuildKit")],
                    "BUILDKIT_PROGRESS": "plain",
                    **login,
                },
            )
        # The id of a manifest or of a configuration, depending on the engine's image store.
        return self._run(
            call, ["image", "inspect", "--format", "{{.Id}}", inputs["imageName"]], {}
        )[-1]

    def push(self, call: Call, inputs: Properties) -> str:
        """Push the image, and return `repository@digest`."""
        name = inputs["imageName"]
        call.status("Pushing Image to the registry")
        with self._logged_in(inputs) as login:
            said = self._run(call, ["push", name], login)
        digests = re.findall(r"digest: (sha256:[0-9a-f]{64})", "\n".join(said))
        if not digests:
            raise Refused(f"docker push {name} told no digest:\n" + "\n".join(said))
        return f"{split(name)[0]}@{digests[-1]}"

    @contextmanager
    def _logged_in(self, inputs: Properties) -> Iterator[dict[str, str]]:
        """The variables of a client with the program's login, in a temporary folder.

        The login is sent with the push, to the host in the image's name, and not tried before.
        """
        own = Path(self.environment.get("DOCKER_CONFIG") or _home(self.environment) / ".docker")
        registry = inputs.get("registry", {})
        user, password = registry.get("username"), registry.get("password")
        if inputs.get("skipPush") or not (user and password):
            yield {"DOCKER_CONFIG": str(own)}
            return
        with tempfile.TemporaryDirectory(prefix="greenhouse-docker-") as folder:
            _write_config(Path(folder), own, split(inputs["imageName"])[0], f"{user}:{password}")
            yield {"DOCKER_CONFIG": folder}

    def _run(
        self, call: Call, arguments: Sequence[str], environment: Mapping[str, str]
    ) -> list[str]:
        """Run the client and show its output.

        Returns the last lines, or raises Refused with the very last.
        """
        said: deque[str] = deque(maxlen=_TAIL)
        with subprocess.Popen(
            [_executable(), *arguments],
            env={**os.environ, **environment, "DOCKER_HOST": self.host},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            _running.add(process)
            for line in map(str.rstrip, process.stdout or ()):
                if line and not _DIGEST_LINE.match(line):
                    said.append(line)
                    call.status(line)
            _running.discard(process)
        if process.returncode != 0:
            call.warn("\n".join(said))
            last = said[-1] if said else f"docker ended with {process.returncode}"
            raise Refused(f"error reading {arguments[0]} output: {last}")
        return list(said)


def end_running() -> None:
    """End every client. With the plugin's process its builds would end as well."""
    for process in list(_running):
        process.terminate()


def warn_of_half_a_login(call: Call, inputs: Properties) -> None:
    """Warn that a username without a password, or a password without a username, isn't used."""
    registry = inputs.get("registry", {})
    user, password = registry.get("username"), registry.get("password")
    if not inputs.get("skipPush") and bool(user) != bool(password):
        missing, given = ("username", "password") if password else ("password", "username")
        call.warn(f"{missing} was not set, although {given} was; using host credentials file")


def split(name: str) -> tuple[str, str]:
    """'host:1/repo:tag' as ('host:1/repo', 'tag')."""
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or Path.home())


def _write_config(folder: Path, own: Path, repository: str, login: str) -> None:
    """Write the user's own client settings with this login, without credential stores.

    A store would win over the login.
    """
    for name in ("cli-plugins", "contexts"):
        if (own / name).is_dir():
            (folder / name).symlink_to(own / name)
    settings = {}
    if (own / "config.json").is_file():
        settings = json.loads((own / "config.json").read_text())
    host = repository.partition("/")[0]
    settings.pop("credsStore", None)
    settings.get("credHelpers", {}).pop(host, None)
    encoded = base64.b64encode(login.encode()).decode()
    settings.setdefault("auths", {})[host] = {"auth": encoded}
    (folder / "config.json").write_text(json.dumps(settings))


def _executable() -> str:
    if found := shutil.which("docker"):
        return found
    raise Refused(
        told(
            "there is no docker client on PATH.",
            "Use the client that make up gets:",
            'eval "$(make -s env)"',
        )
    )
