"""Reads a recipe as the cloud does, refuses it or stores it in one spelling.

The recipe format is 2020-01-25. The cloud and the Java nucleus take keys in any case. Nucleus Lite
takes only one spelling, `Uri` included (its RECIPE_SUPPORT_CHANGES.md). So the stored recipe has
that spelling. The first byte picks the parser: `{` is JSON, anything else YAML
(nx-plugin-for-aws#1265).

This module doesn't check what a script says, nor whether an image exists. The device finds out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from greenhouse.cloud.errors import ValidationException, not_modelled
from greenhouse.cloud.greengrassv2.versions import BadVersion, parse_range, parse_version

FORMAT_VERSION = "2020-01-25"
MAX_BYTES = 16_000  # The only number known for the cloud: GDK 1.6.2 refuses more.
MAX_NAME = 128  # COMPONENT_NAME_LENGTH of the parser that cloud and nucleus share.
DIGEST_ALGORITHM = "SHA-256"

_NAME = re.compile(r"[a-zA-Z0-9-_.]+")  # COMPONENT_NAME_PATTERN of the same parser.
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")

_TOP = (
    "RecipeFormatVersion",
    "ComponentName",
    "ComponentVersion",
    "ComponentDescription",
    "ComponentPublisher",
    "ComponentType",
    "ComponentSource",
    "ComponentConfiguration",
    "ComponentDependencies",
    "Manifests",
    "Lifecycle",
)
_CONFIGURATION = ("DefaultConfiguration",)
_DEPENDENCY = ("VersionRequirement", "DependencyType")
_MANIFEST = ("Name", "Platform", "Lifecycle", "Selections", "Artifacts")
_ARTIFACT = ("Uri", "Unarchive", "Permission", "Digest", "Algorithm")
_PERMISSION = ("Read", "Execute")
_PLATFORM = ("os", "architecture", "architecture.detail", "runtime")


@dataclass(frozen=True)
class Recipe:
    """A recipe that the cloud would take, in its own spelling."""

    name: str
    version: str
    document: dict[str, Any]

    def artifacts(self) -> Iterator[dict[str, Any]]:
        """Every artifact of every manifest. The cloud writes digests into them."""
        for manifest in self.document["Manifests"]:
            yield from manifest.get("Artifacts", [])


class _PlainLoader(yaml.SafeLoader):
    """YAML whose dates stay text: an unquoted 2020-01-25 is the format version, not a day."""


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_recipe(text: bytes) -> Recipe:
    """The recipe in these bytes. Raises ValidationException."""
    if len(text) > MAX_BYTES:
        raise _invalid(f"the recipe has {len(text)} bytes, more than {MAX_BYTES}")
    document = _named(_parsed(text), _TOP, "the recipe")
    for needed in ("RecipeFormatVersion", "ComponentName", "ComponentVersion", "Manifests"):
        if needed not in document:
            raise _invalid(f"the recipe has no {needed}")
    if document["RecipeFormatVersion"] != FORMAT_VERSION:
        raise _invalid(
            f"RecipeFormatVersion is {document['RecipeFormatVersion']!r}, not '{FORMAT_VERSION}'"
        )
    name = document["ComponentName"]
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise _invalid(
            f"ComponentName {name!r} must be letters, digits, '-', '_' and '.', at most {MAX_NAME}"
        )
    if "ComponentSource" in document:
        raise not_modelled("components made from Lambda functions (ComponentSource)")
    document.setdefault("ComponentType", "aws.greengrass.generic")
    if "ComponentConfiguration" in document:
        document["ComponentConfiguration"] = _named(
            document["ComponentConfiguration"], _CONFIGURATION, "ComponentConfiguration"
        )
    if "ComponentDependencies" in document:
        document["ComponentDependencies"] = _dependencies(document["ComponentDependencies"])
    manifests = document["Manifests"]
    if not isinstance(manifests, list) or not manifests:
        raise _invalid("Manifests must be a list with at least one manifest")
    document["Manifests"] = [
        _manifest(manifest, f"Manifests[{index}]") for index, manifest in enumerate(manifests)
    ]
    _object(document.setdefault("Lifecycle", {}), "Lifecycle")
    return Recipe(name, _version(document["ComponentVersion"]), document)


def _invalid(problem: str) -> ValidationException:
    return ValidationException(f"Invalid Input: {problem}")


def _parsed(text: bytes) -> Any:
    try:
        if text.startswith(b"{"):
            return json.loads(text)
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506  # a SafeLoader without dates
    except (ValueError, yaml.YAMLError) as error:
        kind = "JSON, as its first byte is '{'" if text.startswith(b"{") else "YAML"
        raise _invalid(f"the recipe is not {kind}: {error}") from error


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(f"{place} must be an object, found {value!r}")
    return value


def _named(value: Any, names: tuple[str, ...], place: str) -> dict[str, Any]:
    """The object with its keys in the stored spelling. An unknown key is refused.

    The recipe schema of aws-greengrass-component-common has additionalProperties false.
    """
    spelling = {name.lower(): name for name in names}
    found: dict[str, Any] = {}
    for key, member in _object(value, place).items():
        name = spelling.get(str(key).lower())
        if name is None:
            raise _invalid(f"{place} has no key '{key}'; there are {', '.join(names)}")
        if name in found:
            raise _invalid(f"{place} has {name} twice, in two spellings")
        if member is not None:
            found[name] = member
    return found


def _version(text: Any) -> str:
    try:
        return str(parse_version(str(text)))
    except BadVersion as error:
        raise _invalid(f"ComponentVersion: {error}") from error


def _dependencies(value: Any) -> dict[str, Any]:
    stored = {}
    for name, requirement in _object(value, "ComponentDependencies").items():
        place = f"ComponentDependencies.{name}"
        dependency = _named(requirement, _DEPENDENCY, place)
        try:
            wanted = str(parse_range(str(dependency["VersionRequirement"])))
        except KeyError as error:
            raise _invalid(f"{place} has no VersionRequirement") from error
        except BadVersion as error:
            raise _invalid(f"{place}: {error}") from error
        kind = _one_of(dependency.get("DependencyType", "HARD"), ("HARD", "SOFT"), place)
        stored[name] = {"VersionRequirement": wanted, "DependencyType": kind}
    return stored


def _one_of(value: Any, allowed: tuple[str, ...], place: str) -> str:
    if str(value).upper() not in allowed:
        raise _invalid(f"{place}: {value!r} is none of {', '.join(allowed)}")
    return str(value).upper()


def _manifest(value: Any, place: str) -> dict[str, Any]:
    manifest = _named(value, _MANIFEST, place)
    if "Platform" in manifest:
        manifest["Platform"] = {
            (key.lower() if key.lower() in _PLATFORM else key): str(wanted)
            for key, wanted in _object(manifest["Platform"], f"{place}.Platform").items()
        }
    _object(manifest.setdefault("Lifecycle", {}), f"{place}.Lifecycle")
    artifacts = manifest.setdefault("Artifacts", [])
    if not isinstance(artifacts, list):
        raise _invalid(f"{place}.Artifacts must be a list")
    manifest["Artifacts"] = [
        _artifact(artifact, f"{place}.Artifacts[{index}]")
        for index, artifact in enumerate(artifacts)
    ]
    return manifest


def _artifact(value: Any, place: str) -> dict[str, Any]:
    """An artifact with its defaults: not unpacked, readable by the component's user only.

    The author's digest is dropped: the developer guide says that AWS replaces it.
    """
    artifact = _named(value, _ARTIFACT, place)
    uri = str(artifact.get("Uri", ""))
    scheme = _SCHEME.match(uri)
    if not scheme:
        raise _invalid(f"{place}: the artifact's URI {uri!r} has no scheme; s3:// or docker:")
    if scheme.group(1) == "greengrass":
        raise not_modelled(f"artifacts that AWS keeps itself ({uri})")
    if scheme.group(1) not in ("s3", "docker"):
        raise _invalid(f"{place}: scheme of {uri!r} is none of s3, docker, greengrass")
    permission = _named(artifact.get("Permission", {}), _PERMISSION, f"{place}.Permission")
    allowed = ("NONE", "OWNER", "ALL")
    return {
        "Uri": uri,
        "Unarchive": _one_of(artifact.get("Unarchive", "NONE"), ("NONE", "ZIP"), place),
        "Permission": {
            "Read": _one_of(permission.get("Read", "OWNER"), allowed, place),
            "Execute": _one_of(permission.get("Execute", "NONE"), allowed, place),
        },
    }


def fits(document: Mapping[str, Any], attributes: Mapping[str, str]) -> bool:
    """Whether a manifest of the stored recipe is for a device with these platform attributes."""
    return any(
        all(
            _matches(name, wanted, attributes.get(name))
            for name, wanted in manifest.get("Platform", {}).items()
        )
        for manifest in document["Manifests"]
    )


def _matches(name: str, wanted: str, found: str | None) -> bool:
    """A literal, `*`, `/regex/`, or the old wildcards of os and architecture (PlatformHelper)."""
    if wanted == "*" or (name in ("os", "architecture") and wanted in ("all", "any")):
        return True
    if found is None:
        return False
    if len(wanted) > 2 and wanted.startswith("/") and wanted.endswith("/"):
        return re.fullmatch(wanted[1:-1], found) is not None
    return wanted == found


def written(document: Mapping[str, Any], output_format: str) -> bytes:
    """The stored recipe as JSON or YAML."""
    if output_format == "YAML":
        return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True).encode()
    return json.dumps(document).encode()
