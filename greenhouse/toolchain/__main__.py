"""Show what was found or obtained: python -m greenhouse.toolchain."""

from __future__ import annotations

import os
import sys
import time

from rich.console import Console

from greenhouse.processes import ProcessFailed
from greenhouse.toolchain import ToolchainFailed, prepare
from greenhouse.toolchain.base_images import BUILD, RUNTIME


def main() -> int:
    console, began = Console(), time.monotonic()
    try:
        tools = prepare(console)
    except (ToolchainFailed, ProcessFailed) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    docker = tools.docker
    started = "started by greenhouse" if docker.ours else "was running"
    for what, found in (
        ("Pulumi", f"{tools.pulumi.version}, {tools.pulumi.origin}"),
        ("Docker client", f"{docker.client_version}, {docker.client}"),
        ("Docker engine", f"{docker.engine_version}, {started}"),
        ("base images", f"{BUILD.tag}, {RUNTIME.tag}"),
        ("first on PATH", os.pathsep.join(map(str, tools.path))),
        ("found in", f"{time.monotonic() - began:.1f} s"),
    ):
        console.print(f"{what:15}{found}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
