"""Lists and removes this greenhouse's things on the Docker engine, which others use as well.

Containers are named after their device. Images are named after the registry, whose port belongs to
this greenhouse.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from greenhouse.home import Ports


def containers(things: Sequence[str]) -> list[str]:
    """The containers of these devices by name, running or not."""
    names = _docker("ps", "-a", "--format", "{{.Names}}")
    return [name for name in names if name.endswith(tuple(f".{thing}" for thing in things))]


def images(ports: Ports) -> list[str]:
    """Every name, by tag and by digest, of the images built for this greenhouse or pulled from it.

    An image may have further names, which belong to others who built the same image.
    """
    registry = f"127.0.0.1:{ports.ministack}/"
    ids = _docker("image", "ls", "--quiet", "--no-trunc", "--filter", f"reference={registry}*/*")
    if not ids:
        return []
    names = '{{join .RepoTags "\\n"}}\n{{join .RepoDigests "\\n"}}'
    found = _docker("image", "inspect", "--format", names, *dict.fromkeys(ids))
    return sorted(name for name in found if name.startswith(registry))


def remove_images(ports: Ports) -> None:
    """Remove our names from the images. An image goes with its last name. Its base stays."""
    if names := images(ports):
        # The digest goes with the last tag. A digest that is missing by then is no failure.
        subprocess.run(["docker", "image", "rm", *names], capture_output=True, check=False)


def size(image: str) -> str:
    """The size in MB for people, if the image is there."""
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
