"""Finds the files of a folder that a Docker build sees, and computes their digest.

The digest decides whether an image is built again, so it has to cover exactly what the builder
sees. There is no library for that: docker-py ignores case and misses `**` below the second level.
Rules: https://docs.docker.com/build/concepts/context/#syntax, and moby's patternmatcher.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


class BadPattern(Exception):
    """A line of a .dockerignore that can't be understood."""


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One line of a .dockerignore."""

    text: str
    regex: re.Pattern[str]
    brings_back: bool

    @classmethod
    def parse(cls, line: str) -> Pattern | None:
        """The pattern of a line. None for a comment or an empty line."""
        text = line.strip()
        if line.startswith("#") or not text:
            return None
        brings_back = text.startswith("!")
        cleaned = posixpath.normpath(text.removeprefix("!").strip()).lstrip("/")
        try:
            regex = re.compile(_regex(cleaned))
        except re.error as error:
            raise BadPattern(f"'{text}' is not a pattern: {error}") from error
        return cls(text=cleaned, regex=regex, brings_back=brings_back)

    def matches(self, path: str) -> bool:
        """Whether it names this path or a folder above it."""
        parts = path.split("/")
        return any(self.regex.fullmatch("/".join(parts[:end])) for end in range(len(parts), 0, -1))

    def may_reach_into(self, folder: str) -> bool:
        """Whether something below the folder could match. The answer may be yes too often."""
        first = self.text.partition("/")[0]
        return bool(re.search(r"[*?[\\]", first)) or first == folder.partition("/")[0]


def _regex(pattern: str) -> str:
    """Go's file patterns, with `**` for any number of folders."""
    found, rest = "", pattern
    while rest:
        if rest.startswith("**"):
            rest = rest[2:].removeprefix("/")
            found += "(?:.*/)?" if rest else ".*"
        elif rest[0] == "\\" and len(rest) > 1:
            found, rest = found + re.escape(rest[1]), rest[2:]
        else:
            found += {"*": "[^/]*", "?": "[^/]", "[": "[", "]": "]", "^": "^", "-": "-"}.get(
                rest[0], re.escape(rest[0])
            )
            rest = rest[1:]
    return found


def ignored(path: str, patterns: Sequence[Pattern]) -> bool:
    """Whether the build doesn't see this path. The last matching pattern decides."""
    for pattern in reversed(patterns):
        if pattern.matches(path):
            return not pattern.brings_back
    return False


def ignore_patterns(context: Path, dockerfile: Path) -> list[Pattern]:
    """The patterns of the Dockerfile's own ignore file, else of the context's ignore file."""
    for place in (
        dockerfile.with_name(f"{dockerfile.name}.dockerignore"),
        context / ".dockerignore",
    ):
        if place.is_file():
            lines = place.read_text(encoding="utf-8-sig").splitlines()
            return [pattern for line in lines if (pattern := Pattern.parse(line))]
    return []


def visible_files(context: Path, patterns: Sequence[Pattern]) -> Iterator[str]:
    """Files and links that the build sees, relative to the context, in a fixed order."""
    bring_back = [pattern for pattern in patterns if pattern.brings_back]
    for folder, folders, files in os.walk(context):
        below = Path(folder).relative_to(context)
        relative = {name: (below / name).as_posix() for name in (*folders, *files)}
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        folders[:] = sorted(
            name
            for name in folders
            if name not in links
            and (
                not ignored(relative[name], patterns)
                or any(pattern.may_reach_into(relative[name]) for pattern in bring_back)
            )
        )
        for name in sorted((*files, *links)):
            if not ignored(relative[name], patterns):
                yield relative[name]


def context_digest(context: Path, dockerfile: Path, *, written: str) -> str:
    """The plugin's digest of the Dockerfile and of everything that the build sees.

    `written` is the context as the program writes it. It stands before the target of a link. The
    algorithm is known from records of the plugin (tests/greenhouse/providers/conformance).
    """
    digest = hashlib.sha256()

    def count(name: str, mode: str, content: bytes) -> None:
        digest.update(name.encode() + mode.encode() + hashlib.sha256(content).digest() + b"\0")

    count("Dockerfile", "----------", dockerfile.read_bytes())
    seen = visible_files(context, ignore_patterns(context, dockerfile))
    for name in sorted(seen, key=lambda name: [part.encode() for part in name.split("/")]):
        path = context / name
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            if path.exists():  # A dangling link doesn't count.
                leads = posixpath.join(written, str(path.readlink()))
                count(name, _go_mode(mode), posixpath.normpath(leads).encode())
        else:
            count(name, _go_mode(mode), path.read_bytes() if stat.S_ISREG(mode) else b"")
    return digest.hexdigest()


_GO_KINDS = {stat.S_IFLNK: "L", stat.S_IFIFO: "p", stat.S_IFSOCK: "S", stat.S_IFREG: ""}
_GO_BITS = {stat.S_ISUID: "u", stat.S_ISGID: "g", stat.S_ISVTX: "t"}


def _go_mode(mode: int) -> str:
    """The mode as Go's FileMode prints it: kind and special bits, or a dash, then nine letters."""
    kind = _GO_KINDS.get(stat.S_IFMT(mode), "?")
    kind += "".join(letter for bit, letter in _GO_BITS.items() if mode & bit)
    rights = "".join(
        letter if mode & (1 << (8 - place)) else "-" for place, letter in enumerate("rwxrwxrwx")
    )
    return (kind or "-") + rights
