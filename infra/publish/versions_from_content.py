"""Makes component versions from content: `<major>.<6 digits>.<6 digits>`.

A hash becomes two decimal numbers. Greengrass takes at most six digits per part, and no part may
begin with a zero. Nucleus Lite can't store a prerelease part. There are 10**12 versions. After a
thousand releases of a component, two have the same version with a chance of 1 in 2 million.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_PART = 10**6  # The recipes of aws-greengrass-component-common say: "can't exceed 6 digits".


def canonical(content: Any) -> bytes:
    """The canonical text of a JSON value: sorted keys, no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def digest(content: Any) -> str:
    """sha256 of the canonical text, in hex."""
    return hashlib.sha256(canonical(content)).hexdigest()


def component_version(major: int, content: Any) -> str:
    """The version of this content, the same on any machine."""
    minor, patch = divmod(int(digest(content), 16) % _PART**2, _PART)
    return f"{major}.{minor}.{patch}"


def release_name(components: Mapping[str, str]) -> str:
    """The short name of a release, made from its components' versions by name.

    It begins with a letter, because YAML would read some hashes as numbers: 03512e18.
    """
    return f"r{digest(dict(components))[:8]}"


def build_tag(files: Iterable[Path], root: Path, arguments: Mapping[str, str]) -> str:
    """The tag of the image that is made from these files below `root` and these arguments.

    Paths and bytes count. Modes and times don't, because they differ between checkouts.
    """
    listed = sorted((path.relative_to(root).as_posix(), path) for path in files)
    content = {
        "files": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in listed},
        "arguments": dict(arguments),
    }
    return digest(content)[:16]
