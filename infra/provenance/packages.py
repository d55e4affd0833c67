"""Finds the package of each file of an image, and the package's licences.

The packages' own records say it: Debian's `status.d/*.md5sums`, as in distroless images, and a
wheel's RECORD. A module that was compiled in the image belongs to its source's package, and a link
to its target's. Every file belongs to exactly one package. Remaining files belong to the
distribution.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from enum import StrEnum

from infra.provenance.image import File

OURS = "edge-inference"
OUR_LICENCE = "Apache-2.0"  # The same as in pyproject.toml.
_OURS = ("app/edge/", "app/requirements")  # These are what edge/Dockerfile adds to the wheels.

_STATUS = "var/lib/dpkg/status.d/"
_DOCS = "usr/share/doc/"
_SUMS = ".md5sums"
_DIST_INFO = ".dist-info/METADATA"
# These are links into usr since Debian 12.
_MERGED = re.compile(r"(?:bin|sbin|lib|lib32|lib64|libx32)/")
_COMPILED = re.compile(
    r"(?P<folder>.*/)__pycache__/(?P<module>[^/]+)\.cpython-\d+(?:\.opt-\d)?\.pyc"
)
_LINKS = 8  # The longest chain that is followed.

_FORMAT = "Format:"  # Debian's machine-readable copyright files begin so (DEP 5).
_FIELD = re.compile(r"^License:[ \t]*(\S.*)$", re.MULTILINE)
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z][\w.+-]*\w)")
_PHRASES = {"PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2": "PSF-2.0"}  # For a text without fields.
_OSI = "License :: OSI Approved :: "


class Kind(StrEnum):
    """The packaging system of a package."""

    DEBIAN = "deb"
    PYTHON = "pypi"
    OURS = "generic"
    SYSTEM = "system"


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package and its files in the image."""

    kind: Kind
    name: str
    version: str
    architecture: str = ""  # Debian's word.
    source: str = ""  # The source package, if its name differs; advisories use it.
    licences: tuple[str, ...] = ()  # In the package's own words.
    files: tuple[File, ...] = ()


def packages(files: Mapping[str, File]) -> list[Package]:
    """The packages of these files. Each has at least one file; each file is in exactly one."""
    found = [*_debian(files), *_wheels(files)]
    ours = Package(kind=Kind.OURS, name=OURS, version="", licences=(OUR_LICENCE,))
    owners = {path: package for package, paths in found for path in map(_real, paths)}
    members: dict[Package, list[File]] = {}
    system = _system(files)
    for path, file in sorted(files.items()):
        owner = _owner(path, files, owners)
        if not owner:
            owner = ours if path.startswith(_OURS) else system
        members.setdefault(owner, []).append(file)
    return [
        Package(**{**vars(package), "files": tuple(of_it)})
        for package, of_it in sorted(members.items(), key=lambda one: (one[0].kind, one[0].name))
    ]


def _owner(path: str, files: Mapping[str, File], owners: Mapping[str, Package]) -> Package | None:
    for _ in range(_LINKS):
        if compiled := _COMPILED.fullmatch(path):
            path = f"{compiled['folder']}{compiled['module']}.py"
        if (real := _real(path)) in owners:
            return owners[real]
        if path.startswith(_DOCS) and (owner := owners.get(_docs(path.split("/")[3]))):
            return owner
        file = files.get(path) or files.get(_real(path))
        if not file or not file.link:
            return None
        path = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), file.link))[1:]
    return None


def _real(path: str) -> str:
    return f"usr/{path}" if _MERGED.match(path) else path


def _docs(package: str) -> str:
    """A path for all of a package's documentation, because md5sums doesn't list links."""
    return f"{_DOCS}{package}/"


def _debian(files: Mapping[str, File]) -> Iterator[tuple[Package, list[str]]]:
    for path, file in files.items():
        if not path.startswith(_STATUS) or path.endswith(_SUMS):
            continue
        told = HeaderParser().parsestr(file.text)
        name = told["Package"]
        sums = files.get(f"{path}{_SUMS}")
        package = Package(
            kind=Kind.DEBIAN,
            name=name,
            version=told["Version"],
            architecture=told["Architecture"],
            source=(told["Source"] or "").split(" ")[0],  # A version in parentheses may follow.
            licences=_debian_licences(files, name),
        )
        listed = sums.text.splitlines() if sums else ()
        # Each line has the md5, two spaces and the path.
        owned = [line.partition("  ")[2] for line in listed]
        yield package, [path, f"{path}{_SUMS}", _docs(name), *owned]


def _debian_licences(files: Mapping[str, File], package: str) -> tuple[str, ...]:
    """The licences in its copyright file, by Debian's short names; else the file's path."""
    link = files.get(f"{_DOCS}{package}")
    folder = link.link if link and link.link else package
    path = f"{_DOCS}{folder}/copyright"
    if path not in files:
        return ()
    text = files[path].text
    if text.startswith(_FORMAT):
        return tuple(dict.fromkeys(one.strip() for one in _FIELD.findall(text)))
    found = [name for phrase, name in _PHRASES.items() if phrase in text]
    found += [name for name in _COMMON.findall(text) if name not in found]
    return (*dict.fromkeys(found), f"see /{path}")


def _wheels(files: Mapping[str, File]) -> Iterator[tuple[Package, list[str]]]:
    for path, file in files.items():
        if not path.endswith(_DIST_INFO):
            continue
        info = posixpath.dirname(path)
        site = posixpath.dirname(info)
        told = HeaderParser().parsestr(file.text)
        package = Package(
            kind=Kind.PYTHON,
            name=told["Name"],
            version=told["Version"],
            licences=_python_licences(told),
        )
        record = files.get(f"{info}/RECORD")
        listed = [row[0] for row in csv.reader(record.text.splitlines())] if record else []
        # Pip adds its own files to the folder, and a library's Python package may be missing.
        of_info = [one for one in files if one.startswith(f"{info}/")]
        owned = [posixpath.normpath(posixpath.join(site, one)) for one in listed]
        yield package, [*owned, *of_info]


def _python_licences(told: Message) -> tuple[str, ...]:
    """https://packaging.python.org/en/latest/specifications/core-metadata/#license-expression"""
    if expression := told["License-Expression"]:
        return (expression,)
    classifiers = told.get_all("Classifier", [])
    approved = [one.removeprefix(_OSI) for one in classifiers if one.startswith(_OSI)]
    text = (told["License"] or "").splitlines()
    return tuple(approved) or tuple(text[:1])


def _system(files: Mapping[str, File]) -> Package:
    """The distribution, for files without a package: its users, links of its folders."""
    text = next(
        (one.text for one in files.values() if one.text and one.path.endswith("/os-release")), ""
    )
    told = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return Package(
        kind=Kind.SYSTEM,
        name=told.get("ID", "base image").strip('"'),
        version=told.get("VERSION_ID", "").strip('"'),
    )
