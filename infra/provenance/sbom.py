"""Writes a CycloneDX bill of materials of an image, with CycloneDX's own library.

The same image has the same document, byte for byte: it has no time, and its serial number comes
from the image's digest. Its components are the image's packages, whose components are the files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.exceptions import InvalidSpdxLicenseException
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from infra.provenance.image import File
from infra.provenance.packages import Kind, Package, packages

MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.6"
LINK = "edge-inference:link"  # This property names the target of a symbolic link.

_TYPES = {Kind.OURS: ComponentType.APPLICATION, Kind.SYSTEM: ComponentType.OPERATING_SYSTEM}


def document(image: str, architecture: str, files: Mapping[str, File]) -> str:
    """The document of an image (repository@digest) with these files."""
    name, _, digest = image.partition("@")
    short = name.rpartition("/")[2]
    subject = Component(
        type=ComponentType.CONTAINER,
        name=name,
        version=digest,
        bom_ref=image,
        purl=PackageURL("oci", None, short, digest, {"arch": architecture, "repository_url": name}),
    )
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, image))
    bom.metadata.component = subject
    # The type requires a time, but the schema doesn't. With a time, each document would differ.
    bom.metadata.timestamp = None  # type: ignore[assignment]
    made = [_component(package) for package in packages(files)]
    bom.components.update(made)
    bom.register_dependency(subject, made)
    return str(JsonV1Dot6(bom).output_as_string())


def _component(package: Package) -> Component:
    purl = _purl(package)
    return Component(
        type=_TYPES.get(package.kind, ComponentType.LIBRARY),
        name=package.name,
        version=package.version or None,
        bom_ref=str(purl) if purl else package.name,
        purl=purl,
        licenses=_licences(package.licences),
        components=[_file(file) for file in package.files],
    )


def _purl(package: Package) -> PackageURL | None:
    """https://github.com/package-url/purl-spec: advisories are looked up by it."""
    match package.kind:
        case Kind.DEBIAN:
            about = {"arch": package.architecture, "upstream": package.source}
            return PackageURL("deb", "debian", package.name, package.version, about)
        case Kind.PYTHON:
            return PackageURL("pypi", None, package.name, package.version)
    return None


def _licences(names: Sequence[str]) -> list[License]:
    factory = LicenseFactory()
    if len(names) == 1:  # CycloneDX 1.6 takes one expression alone, or names.
        return [factory.make_from_string(names[0])]
    found: list[License] = []
    for name in names:
        try:
            found.append(factory.make_with_id(name))
        except InvalidSpdxLicenseException:
            found.append(factory.make_with_name(name))
    return found


def _file(file: File) -> Component:
    return Component(
        type=ComponentType.FILE,
        name=file.path,
        bom_ref=f"/{file.path}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)] if file.sha256 else (),
        properties=[Property(name=LINK, value=file.link)] if file.link else (),
    )
