"""Reads the files of an image from the registry that devices pull from.

It doesn't ask the engine that built the image, and doesn't read the Dockerfile. The registry has
the bytes that ship.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSRequest
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from infra.account.images import manifest_text, runnable

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

# https://github.com/opencontainers/image-spec/blob/main/layer.md
_HIDDEN, _OPAQUE = ".wh.", ".wh..wh..opq"
_TRIES = 3  # For a layer: botocore repeats its own calls, but this isn't one of them.

# Files about packages: Debian's and Python's own records, and the name of the distribution.
_TELLS = re.compile(
    r"var/lib/dpkg/status\.d/[^/]+|usr/share/doc/[^/]+/copyright|(?:etc|usr/lib)/os-release"
    r"|(?:.*/)?[^/]+\.dist-info/(?:METADATA|RECORD)"
)


class Unreadable(Exception):
    """The image can't be read; the message says what was found."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A regular file or a symbolic link. Folders are left out."""

    path: str  # Without a slash at its beginning.
    sha256: str = ""  # Empty if it isn't a regular file.
    link: str = ""  # The target of a symbolic link.
    text: str = ""  # Only the few files about packages have it.


def files(ecr: ECRClient, image: str) -> dict[str, File]:
    """Every file of an image in ECR, named as repository@digest, by its path.

    Raises Unreadable, and ClientError where ECR refuses.
    """
    name, _, digest = image.partition("@")
    repository = name.partition("/")[2]
    manifest = _manifest(ecr, repository, digest)

    def layer(digest: str) -> bytes:
        url = ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=digest)
        return _checked(_download(url["downloadUrl"]), digest)

    return merged(layer(one["digest"]) for one in manifest["layers"])


def merged(layers: Iterable[bytes]) -> dict[str, File]:
    """The files that a container sees of these layers, the lowest first. Raises Unreadable."""
    seen: dict[str, File] = {}
    for layer in layers:
        try:
            with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
                members = list(archive)
                for member in members:
                    _hide(seen, posixpath.normpath(member.name))
                for member in members:
                    _lay(seen, member, archive)
        except tarfile.TarError as error:
            raise Unreadable(f"a layer is no tar that Python's tarfile reads: {error}") from error
    return seen


def _hide(seen: dict[str, File], path: str) -> None:
    """Remove what a layer hides of the layers below it."""
    folder, name = posixpath.split(path)
    if name == _OPAQUE:
        _forget(seen, folder)
    elif name.startswith(_HIDDEN):
        gone = posixpath.join(folder, name.removeprefix(_HIDDEN))
        seen.pop(gone, None)
        _forget(seen, gone)


def _forget(seen: dict[str, File], folder: str) -> None:
    below = f"{folder}/" if folder else ""
    for path in [path for path in seen if path.startswith(below)]:
        del seen[path]


def _lay(seen: dict[str, File], member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    path = posixpath.normpath(member.name).lstrip("/")
    if posixpath.basename(path).startswith(_HIDDEN):
        return
    if member.isdir():
        seen.pop(path, None)
        return
    _forget(seen, path)  # A folder may have been there.
    if member.issym():
        seen[path] = File(path=path, link=member.linkname)
    elif content := archive.extractfile(member):  # It follows hard links. It is None for devices.
        data = content.read()
        text = data.decode(errors="replace") if _TELLS.fullmatch(path) else ""
        seen[path] = File(path=path, sha256=hashlib.sha256(data).hexdigest(), text=text)
    else:
        raise Unreadable(f"{path} is neither a file nor a link")


def _manifest(ecr: ECRClient, repository: str, digest: str) -> Mapping[str, Any]:
    text = manifest_text(ecr, repository, digest)
    if text is None:
        raise Unreadable(f"ECR has no image {repository}@{digest}")
    _checked(text.encode(), digest)
    manifest: dict[str, Any] = json.loads(text)
    if "manifests" in manifest:
        images = runnable(manifest)
        if len(images) != 1:
            raise Unreadable(f"{repository}@{digest} is an index of {len(images)} images, not one")
        return _manifest(ecr, repository, images[0])
    return manifest


def _checked(content: bytes, digest: str) -> bytes:
    if (found := f"sha256:{hashlib.sha256(content).hexdigest()}") != digest:
        raise Unreadable(f"the registry gave {found} in place of {digest}")
    return content


def _download(url: str, send: Callable[[Any], Any] | None = None) -> bytes:
    """Download with AWS's own HTTP client, with the same proxies and certificates."""
    send = send or URLLib3Session(proxies=get_environ_proxies(url)).send
    for left in reversed(range(_TRIES)):
        try:
            answer = send(AWSRequest("GET", url).prepare())
        except HTTPClientError:
            if not left:
                raise
            continue
        if answer.status_code == 200:
            return bytes(answer.content)
        if not left or answer.status_code < 500:
            break
    raise Unreadable(f"the registry answered {answer.status_code} for a layer")
