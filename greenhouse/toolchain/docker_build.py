"""docker build, with the client and engine that the toolchain finds or starts.

python -m greenhouse.toolchain.docker_build ARGUMENTS runs it. If the arguments name a base image of
greenhouse's, the image is provided first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console

from greenhouse.processes import ProcessFailed
from greenhouse.toolchain.base_images import BUILD, RUNTIME, prepare_bases
from greenhouse.toolchain.commands import ToolchainFailed
from greenhouse.toolchain.docker import Docker, prepare_docker
from greenhouse.toolchain.progress import Progress


def prepare_build(arguments: Sequence[str], progress: Progress) -> Docker:
    """The tools that build with these arguments."""
    docker = prepare_docker(progress)
    if any(word.endswith((BUILD.tag, RUNTIME.tag)) for word in arguments):
        prepare_bases(docker, progress)
    return docker


if __name__ == "__main__":
    try:
        builder = prepare_build(sys.argv[1:], Progress(Console(stderr=True)))
    except (ToolchainFailed, ProcessFailed) as error:
        sys.exit(str(error))
    argv = builder.argv("build", *sys.argv[1:])
    os.execve(argv[0], argv, {**os.environ, **builder.env})  # noqa: S606  # its exit code is ours
