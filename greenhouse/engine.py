"""What this greenhouse has on the Docker engine, which it shares with whoever else uses it.

Containers are named after their device, images after the registry, whose port is this greenhouse's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from greenhouse.home import Ports


def containers(things: Sequence[str]) -> list[str]:
    """Of these devices, by name, whatever their state."""
    names = _docker("ps", "-a", "--format", "{{.Names}}")
    return [name for name in names if name.endswith(tuple(f".{thing}" for thing in things))]


def images(ports: Ports) -> list[str]:
    """Built for this greenhouse or pulled from it: every name, by tag and by digest.

    An image may have the names of others too, who built the same.
    """
    registry = f"127.0.0.1:{ports.ministack}/"
    ids = _docker("image", "ls", "--quiet", "--no-trunc", "--filter", f"reference={registry}*/*")
    if not ids:
        return []
    names = '{{join .RepoTags "\\n"}}\n{{join .RepoDigests "\\n"}}'
    found = _docker("image", "inspect", "--format", names, *dict.fromkeys(ids))
    return sorted(name for name in found if name.startswith(registry))


def remove_images(ports: Ports) -> None:
    """Take our names from them, and what has no other name goes; what it was built from stays."""
    if names := images(ports):
        subprocess.run(  # with the last tag its digest goes too, and is missing then: no failure
            ["docker", "image", "rm", *names], capture_output=True, check=False
        )


def size(image: str) -> str:
    """For people: in MB, where the image is there."""
    found = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{.Size}}", image],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{int(found.stdout) / 1e6:.1f} MB" if found.returncode == 0 else "not on this engine"


def _docker(*arguments: str) -> list[str]:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=True
    ).stdout.split()
