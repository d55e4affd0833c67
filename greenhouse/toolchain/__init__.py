"""Finds the tools that a run needs, and obtains those that a fresh machine lacks.

These are Pulumi's CLI, a Docker engine with a client that builds, and the two base images. Nothing
is kept in the checkout. On the machine itself at most one package is installed: Debian's docker.io.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from greenhouse.toolchain import cache
from greenhouse.toolchain.base_images import prepare_bases
from greenhouse.toolchain.commands import ToolchainFailed
from greenhouse.toolchain.docker import Docker, prepare_docker, stop_engine
from greenhouse.toolchain.progress import Progress
from greenhouse.toolchain.pulumi_cli import Pulumi, prepare_pulumi
from infra.errors import told

__all__ = ["Toolchain", "ToolchainFailed", "prepare", "stop_engine"]


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """What was found or obtained."""

    path: tuple[Path, ...]  # First on PATH. The folder has links to pulumi, its host and docker.
    docker_host: str | None  # DOCKER_HOST, if the engine is not at the default socket.
    pulumi: Pulumi
    docker: Docker


def prepare(console: Console) -> Toolchain:
    """Provide every tool, and say on `console` what takes long and why.

    Raises ToolchainFailed with what to do, or ProcessFailed if the engine doesn't start.
    """
    if sys.platform != "linux":
        raise ToolchainFailed(
            told(
                f"greenhouse needs Linux (this is {sys.platform}).",
                "Its containers mount Unix sockets, which Docker Desktop's machine can't do."
                " Use a Linux machine. A real account works from here without greenhouse.",
            )
        )
    progress = Progress(console)
    docker = prepare_docker(progress)
    cache.link("docker", docker.client)
    prepare_bases(docker, progress)
    return Toolchain(
        path=(cache.bin_folder(),),
        docker_host=docker.host,
        pulumi=prepare_pulumi(progress),
        docker=docker,
    )
