"""Each file of an image belongs to one package, which names its licences."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.provenance.image import File
from infra.provenance.packages import OUR_LICENCE, Package, packages
from infra.provenance.sbom import document

STATUS = "var/lib/dpkg/status.d"
IMAGE = f"1.dkr.ecr.eu-west-1.amazonaws.com/edge-inference/dev@sha256:{'d' * 64}"
DEP5 = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"


def of(*found: tuple[str, str]) -> dict[str, File]:
    """Files: a path with a link (`->target`), or with the text that describes packages."""
    return {
        path: File(path=path, link=text[2:])
        if text.startswith("->")
        else File(path=path, sha256="a" * 64, text=text)
        for path, text in found
    }


def debian(name: str, *paths: str, copyright_: str = "", **fields: str) -> dict[str, File]:
    """A package of Debian's as the base has it."""
    told = {"Package": name, "Version": "1.0-1", "Architecture": "amd64", **fields}
    return of(
        (f"{STATUS}/{name}", "".join(f"{key}: {value}\n" for key, value in told.items())),
        (f"{STATUS}/{name}.md5sums", "".join(f"{'0' * 32}  {path}\n" for path in paths)),
        (f"usr/share/doc/{name}/copyright", copyright_),
    )


def named(found: list[Package], name: str) -> Package:
    [one] = [one for one in found if one.name == name]
    return one


def paths(package: Package) -> set[str]:
    return {file.path for file in package.files}


def test_every_file_is_in_exactly_one_package_and_no_package_is_without() -> None:
    files = {
        **debian("libz", "usr/lib/libz.so.1.2", "usr/share/gone"),
        **of(("usr/lib/libz.so.1.2", ""), ("etc/passwd", ""), ("app/edge/inference/a.py", "")),
        **of(("app/stray", ""), ("usr/lib/os-release", 'ID=debian\nVERSION_ID="12"\n')),
    }
    found = packages(files)
    every = [file.path for package in found for file in package.files]
    assert sorted(every) == sorted(files), "neither more nor fewer, and each once"
    assert all(package.files for package in found)
    assert paths(named(found, "edge-inference")) == {"app/edge/inference/a.py"}
    rest = named(found, "debian")
    assert (rest.version, paths(rest)) == (
        "12",
        {"etc/passwd", "app/stray", "usr/lib/os-release"},
    )


@pytest.mark.parametrize(
    ("files", "owned"),
    [
        (of(("lib/libz.so", "")), "lib/libz.so"),
        (of(("usr/lib/libz.so", "")), "usr/lib/libz.so"),
        (of(("usr/lib/libz.so", ""), ("usr/lib/libz.so.1", "->libz.so")), "usr/lib/libz.so.1"),
        (of(("usr/lib/libz.so", ""), ("usr/bin/z", "->../lib/libz.so")), "usr/bin/z"),
        (of(("lib/libz.so", ""), ("usr/bin/z", "->/lib/libz.so")), "usr/bin/z"),
        (of(("usr/share/doc/libz", "->other")), "usr/share/doc/libz"),
    ],
)
def test_links_and_the_two_names_of_usr_lib_lead_to_the_package(
    files: dict[str, File], owned: str
) -> None:
    package = named(packages({**debian("libz", "lib/libz.so"), **files}), "libz")
    assert owned in paths(package)


def test_links_that_lead_to_each_other_are_the_distribution_s() -> None:
    found = packages(of(("usr/a", "->b"), ("usr/b", "->a")))
    assert paths(named(found, "base image")) == {"usr/a", "usr/b"}


def test_a_compiled_module_goes_with_its_source() -> None:
    source = "usr/lib/python3.11/ast.py"
    compiled = "usr/lib/python3.11/__pycache__/ast.cpython-311.pyc"
    found = packages({**debian("stdlib", source), **of((source, ""), (compiled, ""))})
    assert paths(named(found, "stdlib")) >= {source, compiled}


def test_a_wheel_has_what_its_record_lists_and_what_pip_added() -> None:
    info = "app/awscrt-1.2.dist-info"
    files = of(
        (f"{info}/METADATA", "Name: awscrt\nVersion: 1.2\nLicense-Expression: Apache-2.0\n"),
        (f"{info}/RECORD", "_awscrt.abi3.so,sha256=x,1\nawscrt/io.py,,\n../bin/tool,,\n"),
        (f"{info}/INSTALLER", ""),
        ("app/_awscrt.abi3.so", ""),
        ("app/awscrt/io.py", ""),
        ("app/awscrt/__pycache__/io.cpython-311.pyc", ""),
        ("bin/tool", ""),
    )
    [found] = packages(files)
    assert (found.name, found.version, found.licences) == ("awscrt", "1.2", ("Apache-2.0",))
    assert paths(found) == set(files)


@pytest.mark.parametrize(
    ("text", "licences"),
    [
        (f"{DEP5}License: MIT\n ...\nLicense: Zlib\nLicense: MIT\n", ("MIT", "Zlib")),
        ("in `/usr/share/common-licenses/GPL-2'.", ("GPL-2", "see /usr/share/doc/x/copyright")),
        (
            "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2",
            ("PSF-2.0", "see /usr/share/doc/x/copyright"),
        ),
        ("do what you like", ("see /usr/share/doc/x/copyright",)),
    ],
)
def test_debian_s_licences_come_from_its_copyright_file(
    text: str, licences: tuple[str, ...]
) -> None:
    assert named(packages(debian("x", copyright_=text)), "x").licences == licences


def test_a_package_without_licences_of_its_own_has_those_that_its_link_leads_to() -> None:
    files = debian("gcc-base", copyright_=f"{DEP5}License: GPL-3\n") | debian("libgcc")
    del files["usr/share/doc/libgcc/copyright"]
    files |= of(("usr/share/doc/libgcc", "->gcc-base"))
    assert named(packages(files), "libgcc").licences == ("GPL-3",)


@pytest.mark.parametrize(
    ("metadata", "licences"),
    [
        ("Classifier: License :: OSI Approved :: MIT License\n", ("MIT License",)),
        ("License: Apache 2\n", ("Apache 2",)),
        ("", ()),
    ],
)
def test_a_wheel_s_licences_come_from_its_metadata(
    metadata: str, licences: tuple[str, ...]
) -> None:
    [found] = packages(of(("a/x-1.dist-info/METADATA", f"Name: x\nVersion: 1\n{metadata}")))
    assert found.licences == licences


def test_our_licence_is_pyproject_s() -> None:
    assert tomllib.loads(Path("pyproject.toml").read_text())["project"]["license"] == OUR_LICENCE


def test_the_document_is_valid_and_the_same_for_the_same_image() -> None:
    files = {
        **debian("libz", "usr/lib/libz.so", copyright_=f"{DEP5}License: MIT\nLicense: odd\n"),
        **of(("usr/lib/libz.so", ""), ("usr/lib/libz.so.1", "->libz.so")),
        **of(("a/x-1.dist-info/METADATA", "Name: x\nVersion: 1\nLicense-Expression: MIT OR 0BSD")),
    }
    text = document(IMAGE, "amd64", files)
    assert text == document(IMAGE, "amd64", dict(reversed(files.items())))
    assert text != document(f"{IMAGE[:-1]}e", "amd64", files)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert "timestamp" not in json.loads(text)["metadata"], "or each update would be another"
    purls = {one["name"]: one.get("purl") for one in json.loads(text)["components"]}
    assert purls["libz"] == "pkg:deb/debian/libz@1.0-1?arch=amd64"
    assert purls["x"] == "pkg:pypi/x@1"
