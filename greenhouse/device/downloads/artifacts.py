"""Fetches what a component needs on the disk and the engine, before anything is stopped.

An S3 object is accepted only if its SHA-256 equals the digest that the cloud computed for the
component version. A file that exists isn't fetched again. If less than 20 MB are free on the disk,
nothing is fetched (nucleus: ComponentManager). Clean-up removes the files of versions that the
device neither runs nor could roll back to.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import shutil
import threading
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenhouse.device.downloads import docker
from greenhouse.device.downloads.role import Role
from greenhouse.device.errors import AWS_ERRORS, DeploymentFailed, ErrorCode, aws_code
from greenhouse.device.folders import Folders
from greenhouse.device.recipe.recipes import Artifact, Dialect, Recipe, read
from greenhouse.faults import Faults
from greenhouse.files import write_whole

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

MIN_DISK_BYTES = 20_000_000  # Java's DEFAULT_MIN_DISK_AVAIL_BYTES.

_LOOK_SECONDS = 0.1
_MANAGER = "aws.greengrass.DockerApplicationManager"
_EXCHANGE = "aws.greengrass.TokenExchangeService"


def check_dependencies(recipes: Mapping[str, Recipe]) -> None:
    """The nucleus' own check before it fetches docker artifacts. Raises DeploymentFailed."""
    images = [
        docker.Image.parse(artifact.uri)
        for recipe in recipes.values()
        for artifact in recipe.artifacts
        if artifact.scheme == "docker"
    ]
    if images and _MANAGER not in recipes:
        raise DeploymentFailed(
            f"Deployments containing docker artifacts must include the {_MANAGER} component",
            ErrorCode.MISSING_DOCKER_APPLICATION_MANAGER,
        )
    if any(image.private for image in images) and _EXCHANGE not in recipes:
        raise DeploymentFailed(
            "Deployments containing private ECR Docker artifacts must include the"
            f" {_EXCHANGE} component",
            ErrorCode.MISSING_TOKEN_EXCHANGE_SERVICE,
        )


class Ended(Exception):
    """The device ends, and doesn't wait for what it was fetching."""


class Packages:
    """The recipes and artifacts of one device."""

    def __init__(
        self,
        folders: Folders,
        s3: S3Client,
        *,
        dialect: Dialect,
        faults: Faults,
        ending: threading.Event,
    ) -> None:
        self._folders, self._s3, self._dialect = folders, s3, dialect
        self._faults, self._ending = faults, ending

    def keep_recipe(self, document: Mapping[str, Any]) -> None:
        path = self._folders.recipe(document["ComponentName"], document["ComponentVersion"])
        write_whole(path, json.dumps(document))

    def recipe(self, component: str, version: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._folders.recipe(component, version).read_text())
        return document

    def fetch(self, recipe: Recipe, role: Role) -> None:
        """Fetch every artifact of the component. Raises DeploymentFailed."""
        try:
            for folder in (self._folders.artifacts, self._folders.unarchived):
                folder(recipe.name, recipe.version).mkdir(parents=True, exist_ok=True)
            for artifact in recipe.artifacts:
                if artifact.scheme == "docker":
                    self._hold_up()
                    docker.fetch(
                        docker.Image.parse(artifact.uri),
                        component=f"{recipe.name}-{recipe.version}",
                        role=role,
                        faults=self._faults,
                        pause=self._pause,
                    )
                else:
                    self._fetch_object(recipe, artifact, role)
        except OSError as error:
            raise DeploymentFailed(
                f"Artifacts of {recipe.name}-{recipe.version} can't be written: {error}",
                ErrorCode.ARTIFACT_DOWNLOAD_ERROR,
                ErrorCode.IO_ERROR,
                ErrorCode.IO_WRITE_ERROR,
            ) from error

    def _pause(self, seconds: float) -> None:
        if self._ending.wait(seconds):
            raise Ended

    def _hold_up(self) -> None:
        """What the fault `slow` does while it is set."""
        until = time.monotonic() + float(self._faults.detail("slow") or 0)
        while self._faults.detail("slow") and time.monotonic() < until:
            self._pause(_LOOK_SECONDS)

    def _need_room(self) -> None:
        full = self._faults.detail("disk-full") is not None
        usable = 0 if full else shutil.disk_usage(self._folders.root).free
        if usable < MIN_DISK_BYTES:
            raise DeploymentFailed(
                f"Disk space critical: {usable} bytes usable, {MIN_DISK_BYTES} bytes minimum"
                " allowed",
                ErrorCode.COMPONENT_PACKAGE_LOADING_ERROR,
                ErrorCode.DISK_SPACE_CRITICAL,
            )

    def _fetch_object(self, recipe: Recipe, artifact: Artifact, role: Role) -> None:
        bucket, _, key = artifact.uri.removeprefix("s3://").partition("/")
        path = self._folders.artifacts(recipe.name, recipe.version) / Path(key).name
        if not path.exists() or _digest(path) != artifact.digest:
            self._need_room()
            self._hold_up()
            self._download(bucket, key, path, recipe, artifact, role)
        path.chmod(_mode(artifact))
        if artifact.unzip:
            _unzip(path, self._folders.unarchived(recipe.name, recipe.version) / path.stem, recipe)

    def _download(
        self,
        bucket: str,
        key: str,
        path: Path,
        recipe: Recipe,
        artifact: Artifact,
        role: Role,
    ) -> None:
        def failed(reason: str, *codes: ErrorCode) -> DeploymentFailed:
            return DeploymentFailed(
                f"Failed to download artifact name: '{artifact.uri}' for component"
                f" {recipe.name}-{recipe.version}, reason: {reason}",
                ErrorCode.ARTIFACT_DOWNLOAD_ERROR,
                *codes,
            )

        if not role.allows("s3:GetObject", f"arn:aws:s3:::{bucket}/{key}"):
            raise failed(
                "S3 HeadObject returns 403 Access Denied. Ensure the IAM role associated with the"
                " core device has a policy granting s3:GetObject",
                ErrorCode.S3_ERROR,
                ErrorCode.S3_ACCESS_DENIED,
                ErrorCode.S3_HEAD_OBJECT_ACCESS_DENIED,
            )
        draft = path.with_name(f".{path.name}.draft")
        try:
            self._s3.download_file(bucket, key, str(draft))
        except AWS_ERRORS as error:
            if aws_code(error) in ("404", "NoSuchKey", "NoSuchBucket"):
                code = ErrorCode.S3_GET_OBJECT_RESOURCE_NOT_FOUND
                raise failed(f"S3 has no such object: {error}", ErrorCode.S3_ERROR, code) from error
            raise failed(str(error), ErrorCode.S3_ERROR) from error
        if self._faults.detail("digest-mismatch") is not None:
            with draft.open("ab") as file:
                file.write(b"\0")
        if _digest(draft) != artifact.digest:
            draft.unlink()
            raise failed(
                "Integrity check for downloaded artifact failed. Probably due to file corruption.",
                ErrorCode.ARTIFACT_CHECKSUM_MISMATCH,
            )
        draft.replace(path)

    def clean_up(self, keep: Mapping[str, set[str]], attributes: Mapping[str, str]) -> None:
        """Remove recipes, artifacts and images of every version outside the given ones."""
        stale, kept = [], set()
        for path in sorted(self._folders.recipes.glob("*@*.json")):
            name, _, version = path.stem.rpartition("@")
            images = {
                artifact.uri.removeprefix("docker:")
                for artifact in read(
                    self.recipe(name, version), attributes, self._dialect
                ).artifacts
                if artifact.scheme == "docker"
            }
            if version in keep.get(name, ()):
                kept |= images
            else:
                stale.append((path, name, version, images))
        for path, name, version, images in stale:
            log.info("removing %s %s: stale", name, version)
            for image in sorted(images - kept):
                docker.remove(image)
            for folder in (self._folders.artifacts, self._folders.unarchived):
                shutil.rmtree(folder(name, version), ignore_errors=True)
            path.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()


def _mode(artifact: Artifact) -> int:
    """File permissions. The owner may always write, as the device may have to replace the file."""
    read = {"NONE": 0o200, "OWNER": 0o600, "ALL": 0o644}[artifact.read]
    return read | {"NONE": 0, "OWNER": 0o100, "ALL": 0o111}[artifact.execute]


def _unzip(path: Path, target: Path, recipe: Recipe) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(target)
    except zipfile.BadZipFile as error:
        raise DeploymentFailed(
            f"Artifact {path.name} of {recipe.name}-{recipe.version} is no ZIP file: {error}",
            ErrorCode.ARTIFACT_DOWNLOAD_ERROR,
            ErrorCode.IO_ERROR,
            ErrorCode.IO_UNZIP_ERROR,
        ) from error
