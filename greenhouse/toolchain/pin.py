"""The base images of edge/Dockerfile, named by the digests of today.

A tag is another image tomorrow, a digest never. `python -m greenhouse.toolchain.pin` asks the
registries by a pull, which is what a build needs anyway. Afterwards Dependabot proposes newer ones.
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
_HUB = re.compile(r"^(?:docker\.io/)?(?:library/)?")  # which an engine leaves out


def images(dockerfile: str) -> Iterator[re.Match[str]]:
    """Each image of a registry that it begins with, with a digest or without."""
    return _FROM.finditer(dockerfile)


def pinned(docker: Docker, dockerfile: str, progress: Progress) -> str:
    """The same Dockerfile, with today's digests; raises ToolchainFailed where none can be had."""
    for image in [*images(dockerfile)][::-1]:  # from the end, as an edit moves what follows
        name, (start, end) = image["image"], (image.start("image"), image.end())
        with progress.step(f"asking the registry for {name}"):
            run_logged(docker.argv("pull", "--quiet", name), log=log_file("pin"), env=docker.env)
        told = docker.ask("image", "inspect", "--format", "{{json .RepoDigests}}", name)
        digest = _of(name, json.loads(told or "[]"))
        dockerfile = f"{dockerfile[:start]}{name}@{digest}{dockerfile[end:]}"
    return dockerfile


def _of(name: str, digests: list[str]) -> str:
    """The digest in its own repository: the engine may know the image by others' names, too."""
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
