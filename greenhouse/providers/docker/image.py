"""Package `docker`: an image, built by the engine and pushed to its registry.

The work is the docker client's: it brings BuildKit along and logs in like everyone else. What ECR
does and MiniStack doesn't is added here: an immutable tag is never taken twice, even for the same
bytes (aws/containers-roadmap#2380).
"""

# ruff: noqa: ARG002  # one shape of verbs for all resources; not all need every argument

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pulumi_docker.image import ImageArgs

from greenhouse.home import REGION
from greenhouse.providers.account import Account
from greenhouse.providers.aws.common import fine_if
from greenhouse.providers.docker.build_context import BadPattern, context_digest
from greenhouse.providers.protocol.resource import Failure, Naming, Refused, Resource
from greenhouse.providers.protocol.servicer import Package
from greenhouse.providers.protocol.session import Call
from greenhouse.providers.protocol.wire import UNKNOWN, Properties, has_unknown

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIGEST_LINE = re.compile(r"#\d+ sha256:[0-9a-f]{64}( |$)")  # of a step: tells people nothing
_TAIL = 30  # lines of a failed build that are shown
_PING_SECONDS = 10


class Image(Resource):
    """An image that is built again whenever an input or the context changes; never replaced."""

    kind = "docker:index/image:Image"
    args = ImageArgs
    acted_on = frozenset({"build", "buildOnPreview", "imageName", "registry", "skipPush"})
    build_acted_on = frozenset({"args", "context", "dockerfile", "platform", "target"})
    computed = frozenset({"repoDigest"})

    def __init__(self, account: Account) -> None:
        self.account = account

    def check(
        self, call: Call, news: Properties, olds: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        inputs, failures = super().check(call, news, olds, naming)
        if inputs.get("buildOnPreview"):  # False is the SDK's default, sent unasked
            failures += self.refused({"buildOnPreview"}, frozenset())
        failures += self.refused(inputs.get("build", {}), self.build_acted_on, "build.")
        if failures:
            return inputs, failures
        build = {**inputs.get("build", {})}
        if "platform" not in build:
            build["platform"] = f"linux/{_GO_NAMES.get(platform.machine(), platform.machine())}"
            call.info(
                f"Building your image for {build['platform']}. Set build.platform, or the same"
                " program builds another image on another machine."
            )
        failures += _unqualified(inputs)
        try:
            build["contextDigest"] = self._digest(call, build)
        except (BadPattern, OSError) as error:
            failures.append(Failure("build.context", f"can't be used: {error}"))
        return {**inputs, "build": build}, failures

    def equal(self, name: str, old: Any, new: Any) -> bool:
        if name == "registry" and old and new:  # a new password is no reason to build
            return bool(old.get("server") == new.get("server"))
        return super().equal(name, old, new)

    def preview(self, call: Call, news: Properties, olds: Properties | None) -> Properties:
        return {**news, **_described(news), "repoDigest": UNKNOWN}

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        digest = self._build(call, inputs)
        if not inputs.get("skipPush"):
            digest = self._push(call, inputs)
        return inputs["imageName"], {**_described(inputs), "repoDigest": digest}

    def update(self, call: Call, id_: str, olds: Properties, news: Properties) -> Properties:
        return self.create(call, news)[1]

    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        return {}  # the real provider doesn't look either

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        """Nothing: the image belongs to its repository now."""

    def _digest(self, call: Call, build: Properties) -> Any:
        if has_unknown([_context(build), _dockerfile(build)]):
            return UNKNOWN
        written = str(_context(build))
        context, dockerfile = call.path(written), call.path(_dockerfile(build))
        return context_digest(context, dockerfile, written=written)

    def _build(self, call: Call, inputs: Properties) -> str:
        """Build it; the image's id."""
        build = inputs["build"]
        options = {
            "--tag": [inputs["imageName"]],
            "--file": [str(call.path(_dockerfile(build)))],
            "--platform": [build["platform"]],
            "--target": [build["target"]] if "target" in build else [],
            "--build-arg": list(build.get("args", {})),  # values by environment: argv is public
        }
        environment = {
            **build.get("args", {}),
            "DOCKER_BUILDKIT": "1",
            "BUILDKIT_PROGRESS": "plain",
        }
        arguments = [
            word for name, words in options.items() for one in words for word in (name, one)
        ]
        call.status("Building the image")
        with tempfile.TemporaryDirectory(prefix="greenhouse-build-") as folder:
            id_file = Path(folder) / "id"
            arguments += ["--iidfile", str(id_file), str(call.path(_context(build)))]
            _docker(call, ["build", *arguments], environment)
            return id_file.read_text().strip()

    def _push(self, call: Call, inputs: Properties) -> str:
        """Push it; `repository@digest`."""
        name = inputs["imageName"]
        repository, tag = _split(name)
        call.status("Pushing the image to the registry")
        self._refuse_as_ecr(repository, tag)
        with self._logged_in(call, inputs) as config:
            said = _docker(call, ["push", name], config)
        digests = re.findall(r"digest: (sha256:[0-9a-f]{64})", "\n".join(said))
        if not digests:
            raise Refused(f"docker push {name} told no digest:\n" + "\n".join(said))
        return f"{repository}@{digests[-1]}"

    def _refuse_as_ecr(self, repository: str, tag: str) -> None:
        host, _, name = repository.partition("/")
        if host != self.account.registry:
            return
        ecr = self.account.ecr(REGION)
        with fine_if("RepositoryNotFoundException"):  # the registry will say so itself
            (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
            taken = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag}])["images"]
            if found["imageTagMutability"] != "IMMUTABLE" or not taken:
                return
            raise Refused(
                f"tag invalid: The image tag '{tag}' already exists in the '{name}' repository and"
                " cannot be overwritten because the repository is immutable. Remove it first:"
                f" aws ecr batch-delete-image --repository-name {name} --image-ids imageTag={tag}"
            )

    @contextmanager
    def _logged_in(self, call: Call, inputs: Properties) -> Iterator[dict[str, str]]:
        """The environment of a docker client that has the program's login, in a passing folder."""
        registry = inputs.get("registry", {})
        user, password = registry.get("username"), registry.get("password")
        if bool(user) != bool(password):
            missing, given = ("username", "password") if password else ("password", "username")
            call.warn(f"{missing} was not set, although {given} was; using host credentials file")
        if not (user and password):
            yield {}
            return
        with tempfile.TemporaryDirectory(prefix="greenhouse-docker-") as folder:
            _copy_client_config(Path(folder))
            environment = {"DOCKER_CONFIG": folder}
            server = _host(registry.get("server") or inputs["imageName"])
            login = ["login", "--username", user, "--password-stdin", server]
            # its warning is that the password is kept in a file, but that file goes with the folder
            _docker(call, login, environment, typed=password, shown=False)
            yield environment


def _context(build: Properties) -> Any:
    return build.get("context", ".")


def _dockerfile(build: Properties) -> Any:
    if "dockerfile" in build or has_unknown(_context(build)):
        return build.get("dockerfile", UNKNOWN)
    return str(Path(_context(build)) / "Dockerfile")


def _described(inputs: Properties) -> Properties:
    build = inputs["build"]
    context, dockerfile = _context(build), _dockerfile(build)
    unknown = has_unknown([context, dockerfile])
    return {
        "baseImageName": inputs["imageName"],
        "context": context,
        "dockerfile": UNKNOWN if unknown else os.path.relpath(dockerfile, context),
        "platform": build["platform"],
        "registryServer": inputs.get("registry", {}).get("server", ""),
    }


def _unqualified(inputs: Properties) -> Iterator[Failure]:
    name = inputs["imageName"]
    if inputs.get("skipPush") or has_unknown(name):
        return
    host, slash, _ = name.partition("/")
    if not slash or not (re.search(r"[.:]", host) or host == "localhost"):
        yield Failure(
            "imageName",
            f"'{name}' must be fully qualified. For example, if you are attempting to push to"
            f" Docker Hub, prefix it with `docker.io`: docker.io/repository/{name}",
        )


def _split(name: str) -> tuple[str, str]:
    """'host:1/repo:tag' as ('host:1/repo', 'tag')."""
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def _host(server: str) -> str:
    """The registry's host from a URL or an image name."""
    return urlsplit(server if "://" in server else f"//{server}").netloc


def _copy_client_config(folder: Path) -> None:
    """The user's own client settings, without a store that a login would write into."""
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    for name in ("cli-plugins", "contexts"):
        if (own / name).is_dir():
            (folder / name).symlink_to(own / name)
    if (own / "config.json").is_file():
        settings = json.loads((own / "config.json").read_text())
        settings.pop("credsStore", None)
        (folder / "config.json").write_text(json.dumps(settings))


def _docker(
    call: Call,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    typed: str = "",
    shown: bool = True,
) -> list[str]:
    """Run the client, showing what it says; its last lines, or Refused with them."""
    said: deque[str] = deque(maxlen=_TAIL)
    with subprocess.Popen(
        [_client(), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        call.on_cancel(process.terminate)
        if process.stdin and process.stdout:
            process.stdin.write(typed)
            process.stdin.close()
            for line in map(str.rstrip, process.stdout):
                if line and not _DIGEST_LINE.match(line):
                    said.append(line)
                    if shown:
                        call.status(line)
    if process.returncode != 0:
        ended = "was cancelled" if call.cancelled.is_set() else f"ended with {process.returncode}"
        raise Refused(f"docker {arguments[0]} {ended}:\n" + "\n".join(said))
    return list(said)


def _client() -> str:
    if found := shutil.which("docker"):
        return found
    raise Refused('there is no docker client on PATH. `make up` gets one: eval "$(make -s env)"')


def ping() -> None:
    """Raise Refused unless an engine answers; the real provider asks even for a preview."""
    try:
        asked = subprocess.run(
            [_client(), "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=_PING_SECONDS,
            check=False,
        )
        if asked.returncode == 0:
            return
        found = asked.stderr.strip()
    except subprocess.TimeoutExpired:
        found = f"no answer within {_PING_SECONDS} s"
    raise Refused(
        f"failed to connect to any docker daemon: {found}. Start the engine (`make up` does), set"
        " DOCKER_HOST, or join the group docker, and start greenhouse anew:"
        " python -m greenhouse stop, then make start"
    )


def package(account: Account) -> Package:
    """The image, and an engine that is there."""
    return Package(
        name="docker",
        version=metadata.version("pulumi-docker"),
        resources={Image.kind: Image(account)},
        configure=lambda _: ping(),
    )
