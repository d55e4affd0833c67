"""Pins the base images of edge/Dockerfile to today's digests.

A tag may be another image tomorrow, a digest never. `make pin` finds the digests by a pull, which a
build needs anyway. Afterwards Dependabot proposes newer digests.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from greenhouse.processes import ProcessFailed
from greenhouse.toolchain.commands import ToolchainFailed, log_file, run_logged
from greenhouse.toolchain.docker import Docker, prepare_docker
from greenhouse.toolchain.progress import Progress

DOCKERFILE = Path("edge/Dockerfile")
_FROM = re.compile(
    r"^FROM (?:--\S+ )*(?P<image>[^\s@$]*[/:.][^\s@$]*)(?P<digest>@\S+)?(?= )", re.MULTILINE
)
_HUB = re.compile(r"^(?:docker\.io/)?(?:library/)?")  # An engine leaves these parts out.


def images(dockerfile: str) -> Iterator[re.Match[str]]:
    """The base images that come from a registry, with or without a digest."""
    return _FROM.finditer(dockerfile)


def pinned(docker: Docker, dockerfile: str, progress: Progress) -> str:
    """The same Dockerfile, with today's digests.

    Raises ToolchainFailed if a digest can't be had.
    """
    for image in [*images(dockerfile)][::-1]:  # From the end, as an edit moves what follows.
        name, (start, end) = image["image"], (image.start("image"), image.end())
        with progress.step(f"asking the registry for {name}"):
            run_logged(docker.argv("pull", "--quiet", name), log=log_file("pin"), env=docker.env)
        told = docker.ask("image", "inspect", "--format", "{{json .RepoDigests}}", name)
        digest = _of(name, json.loads(told or "[]"))
        dockerfile = f"{dockerfile[:start]}{name}@{digest}{dockerfile[end:]}"
    return dockerfile


def _of(name: str, digests: list[str]) -> str:
    """The digest in its own repository. The engine may know the image by other names as well."""
    repository = _HUB.sub("", re.sub(r":[^:/]+$", "", name))
    for one in digests:
        where, _, digest = one.partition("@")
        if _HUB.sub("", where) == repository:
            return digest
    raise ToolchainFailed(f"the Docker engine knows no digest of {name} in its registry")


if __name__ == "__main__":
    try:
        show = Progress(Console(stderr=True))
        DOCKERFILE.write_text(pinned(prepare_docker(show), DOCKERFILE.read_text(), show))
    except (ToolchainFailed, ProcessFailed) as error:
        sys.exit(str(error))
    for found in images(DOCKERFILE.read_text()):
        print(f"{found['image']}{found['digest']}")
