"""What the plugin makes of an image's inputs, and which inputs it refuses, in its own words.

Some inputs are refused where the plugin goes on: names and types that the SDK doesn't have,
`cacheFrom`, and inputs that crash the plugin.
"""

from __future__ import annotations

import os
import platform
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pulumi_docker.image import ImageArgs

from greenhouse.providers.docker.build_context import BadPattern, context_digest
from greenhouse.providers.protocol import schema
from greenhouse.providers.protocol.resource import Failure, Refused
from greenhouse.providers.protocol.session import Call
from greenhouse.providers.protocol.wire import UNKNOWN, Properties, Unknown, has_unknown

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
_ADVICE = (
    "This resource requires all image names to be fully qualified.\nFor example, if you are"
    " attempting to push to Dockerhub, prefix your image name with `docker.io`:\n\n"
    "`docker.io/repository/image:tag`"
)
# A name is canonical if it begins with a domain: https://github.com/distribution/reference,
# regexp.go.
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::[\w][\w.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def unusable(news: Properties) -> Iterator[Failure]:
    """What greenhouse doesn't take, though the plugin might take it or crash. May raise Refused."""
    for path, reason in schema.problems(ImageArgs, news):
        if path == "build.builderVersion":
            raise Refused("invalid Docker Builder version")
        yield Failure(path, reason)
    if isinstance(news.get("skipPush"), Unknown):
        yield Failure("skipPush", "isn't known yet, which the plugin dies of")
    build = news.get("build")
    if isinstance(build, dict):
        if isinstance(build.get("args"), Unknown):
            yield Failure("build.args", "aren't known yet, which the plugin dies of")
        if isinstance(build.get("network"), Unknown):
            yield Failure("build.network", "isn't known yet, which the plugin dies of")
        if isinstance(build.get("context"), Unknown) and not isinstance(
            build.get("dockerfile"), Unknown
        ):
            yield Failure(
                "build.context", "isn't known yet, and the plugin would take the program's folder"
            )
        if "cacheFrom" in build:
            yield Failure(
                "build.cacheFrom",
                "is not acted on by greenhouse, whose engine has its own cache. Leave it out on"
                " this stack",
            )


def checked(call: Call, news: Properties) -> Properties:
    """The inputs with defaults and the digest of the build context. Raises Refused."""
    asked = news.get("buildOnPreview")
    inputs = {**news, "buildOnPreview": False if isinstance(asked, Unknown) else bool(asked)}
    if not isinstance(build := news.get("build", {}), Unknown):
        inputs["build"] = _build(call, build)
    server = news.get("registry", {})
    server = server.get("server") if isinstance(server, dict) else None
    name = news["imageName"]
    if not news.get("skipPush") and not server and not isinstance(name, Unknown):
        _refuse_unqualified(name)
    return inputs


def _build(call: Call, given: Properties) -> Properties:
    build = {"context": ".", **given}
    if "dockerfile" not in build:
        build["dockerfile"] = posixpath.normpath(posixpath.join(build["context"], "Dockerfile"))
    if not has_unknown([build["dockerfile"], build["context"]]):
        build["contextDigest"] = _digest(call, build["context"], build["dockerfile"])
    if "platform" not in build:
        build["platform"] = f"linux/{_GO_NAMES.get(platform.machine(), platform.machine())}"
        call.info(
            f"Building your image for {build['platform']} architecture.\nTo ensure you are building"
            " for the correct platform, consider explicitly setting the `platform` field on"
            " ImageBuildOptions."
        )
    return build


def _digest(call: Call, context: str, dockerfile: str) -> str:
    """The digest. Each failure has the plugin's words."""
    if not call.path(dockerfile).exists():
        missing = f"stat {dockerfile}: no such file or directory"
        if Path(dockerfile).is_absolute():
            raise Refused(
                f'expected a relative Dockerfile path; got "{dockerfile}" instead: {missing}'
            )
        inside = posixpath.normpath(posixpath.join(context, dockerfile))
        what = f'could not open dockerfile at relative path "{dockerfile}"'
        if call.path(inside).exists():
            raise Refused(f'{what}. Try setting `dockerfile` to "{inside}"')
        raise Refused(f"{what}: {missing}")
    if call.path(context).is_file():
        ignore = posixpath.join(context, ".dockerignore")
        raise Refused(f'reading "{ignore}": open {ignore}: not a directory')
    if call.path(dockerfile).is_dir():
        raise Refused(
            f'error hashing dockerfile "{dockerfile}": could not copy file {dockerfile} to hash:'
            f" read {dockerfile}: is a directory"
        )
    what = "unable to hash build context"
    if not call.path(context).exists():
        raise Refused(f"{what}: resolve : lstat {context}: no such file or directory")
    try:
        return context_digest(call.path(context), call.path(dockerfile), written=context)
    except (BadPattern, OSError) as error:
        raise Refused(f"{what}: {error}") from error


def _refuse_unqualified(name: str) -> None:
    found = _REFERENCE.fullmatch(name)
    if found is None:
        repository = re.sub(r"(:[^/]*)?(@.*)?$", "", name)
        path = repository.partition("/")[2] or repository
        capitals = f": repository name ({path}) must be lowercase" if path != path.lower() else ""
        raise Refused(f'"{name}": invalid reference format{capitals}.\n{_ADVICE}')
    domain, slash, _ = found["name"].partition("/")
    if not slash or not (re.search(r"[.:]", domain) or domain == "localhost"):
        raise Refused(f'"{name}": repository name must be canonical.\n{_ADVICE}')


def described(inputs: Properties) -> Properties:
    """The outputs of an image that was made, except for its digest."""
    build = inputs["build"]
    return {
        "baseImageName": inputs["imageName"],
        "context": build["context"],
        "dockerfile": os.path.relpath(build["dockerfile"], build["context"]),
        "imageName": inputs["imageName"],
        "platform": build["platform"],
        "registryServer": inputs.get("registry", {}).get("server", ""),
    }


def differences(olds: Properties | None, news: Properties) -> dict[str, str]:
    """The changed inputs, each with ADD, DELETE or UPDATE. A new password isn't a change."""
    olds = olds or {}
    found = {}
    for name in olds.keys() | news.keys():
        old, new = olds.get(name), news.get(name)
        if name not in olds:
            found[name] = "ADD"
        elif name not in news:
            found[name] = "DELETE"
        elif _updated(name, old, new):
            found[name] = "UPDATE"
    return found


def _updated(name: str, old: Any, new: Any) -> bool:
    if name == "registry" and isinstance(old, dict) and isinstance(new, dict):
        return "server" in old.keys() & new.keys() and bool(old["server"] != new["server"])
    return bool(old != new)


def can_be_built(inputs: Properties) -> bool:
    """Whether a preview knows all that a build needs."""
    build = inputs.get("build")
    if not isinstance(build, dict):
        return False
    needed = [build.get(name, UNKNOWN) for name in ("context", "dockerfile")]
    return not has_unknown([*needed, build.get("args"), inputs.get("imageName")])
