"""Pulls the images of `docker:` artifacts: `docker:registry/image[:tag|@digest]`.

A reference with tag and digest is refused, as the nucleus' parser takes only one of them. `latest`
is pulled for every deployment. Any other tag is pulled only if the engine doesn't have it (nucleus
2.10.0 and later). Clean-up removes the image. An unreachable registry is asked again without end,
after 1, 2, 4 … 64 minutes. A registry that refuses fails the deployment (DefaultDockerClient,
DockerImageDownloader).

A repository at a loopback address stands for a private ECR repository. It has all that the nucleus
requires there: TokenExchangeService in the deployment, and ECR rights of the device's role.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from greenhouse.device.downloads.role import Role
from greenhouse.device.errors import DeploymentFailed, ErrorCode
from greenhouse.faults import Faults
from greenhouse.home import ACCOUNT, REGION

log = logging.getLogger(__name__)

RMI_TRIES = 5
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 60.0, 64 * 60.0

_PATH = re.compile(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*")
_TAG = re.compile(r"[\w][\w.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,}")
_PRIVATE = re.compile(r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com|(127\.0\.0\.1|localhost):\d+")

# Go's words for a network failure. The nucleus looks for them in docker's output.
_UNREACHABLE = re.compile(
    r"(dial|read|write) tcp|connection (reset by peer|refused|aborted)|broken pipe|unexpected eof"
    r"|(network|host) is (unreachable|down)|no route to host|net/http|timeout|request canceled"
    r"|context deadline exceeded|no such host|temporary failure in name resolution",
    re.IGNORECASE,
)
_FAULTY = {
    "denied": (
        "Error response from daemon: pull access denied for {0}, repository does not exist or may"
        " require 'docker login': denied: requested access to the resource is denied"
    ),
    "timeout": (
        'Error response from daemon: Get "https://{0}": net/http: request canceled while waiting'
        " for connection (Client.Timeout exceeded while awaiting headers)"
    ),
}


@dataclass(frozen=True)
class Image:
    """One image as an artifact names it."""

    reference: str
    repository: str  # The path without the host.
    private: bool
    floating: bool  # `latest`, named or by default.

    @classmethod
    def parse(cls, uri: str) -> Image:
        """The image of a URI. Raises DeploymentFailed in the nucleus' cases."""
        reference = uri.removeprefix("docker:")
        name, at, digest = reference.partition("@")
        host, slash, path = name.partition("/")
        if not slash or not (set(".:") & set(host) or host == "localhost"):
            host, path = "", name  # A name on Docker Hub.
        colon, tag = "", ""
        if not at:
            path, colon, tag = path.partition(":")
        if (
            not _PATH.fullmatch(path)
            or (at and not _DIGEST.fullmatch(digest))
            or (colon and not _TAG.fullmatch(tag))
        ):
            raise DeploymentFailed(
                f"Failed to download artifact name: '{uri}': the image must be named"
                " docker:registry/image[:tag|@digest], with a tag or a digest but not both",
                ErrorCode.ARTIFACT_DOWNLOAD_ERROR,
                ErrorCode.DOCKER_ARTIFACT_URI_NOT_VALID,
            )
        return cls(
            reference=reference,
            repository=path,
            private=_PRIVATE.fullmatch(host) is not None,
            floating=not at and tag in ("", "latest"),
        )


def fetch(
    image: Image, *, component: str, role: Role, faults: Faults, pause: Callable[[float], None]
) -> None:
    """Pull the image to the engine. Raises DeploymentFailed, and whatever `pause` raises."""
    there = not image.floating and present(image.reference)
    if there and faults.detail("pull-fails") is None:
        return
    if image.private:
        _authorize(image, component, role)
    retry = FIRST_RETRY_SECONDS
    while trouble := _pull(image.reference, faults):
        if not _UNREACHABLE.search(trouble):
            code = ErrorCode.DOCKER_PULL_ERROR
            if "Cannot connect to the Docker daemon" in trouble:
                code = ErrorCode.DOCKER_SERVICE_UNAVAILABLE
            raise DeploymentFailed(
                f"Failed to download artifact name: 'docker:{image.reference}' for component"
                f" {component}, reason: {trouble}",
                ErrorCode.ARTIFACT_DOWNLOAD_ERROR,
                ErrorCode.DOCKER_ERROR,
                code,
            )
        log.warning("docker pull %s, again in %.0f s: %s", image.reference, retry, trouble)
        pause(retry)
        retry = min(2 * retry, LAST_RETRY_SECONDS)


def _pull(reference: str, faults: Faults) -> str | None:
    """Docker's complaint, or None after a successful pull."""
    if fault := faults.detail("pull-fails"):
        return _FAULTY[fault].format(reference)
    log.info("docker pull %s", reference)
    done = _docker("pull", "--quiet", reference)
    return done.stderr.strip() if done.returncode else None


def present(reference: str) -> bool:
    """Whether the engine has the image."""
    return bool(_docker("images", "--quiet", reference).stdout.strip())


def remove(reference: str) -> None:
    """Remove a stale version's image. An image in use stays, as on the nucleus."""
    for _ in range(RMI_TRIES):
        if not present(reference):
            return
        done = _docker("rmi", reference)
        if done.returncode == 0:
            log.info("docker rmi %s", reference)
            return
    log.warning("docker rmi %s: %s", reference, done.stderr.strip())


def _authorize(image: Image, component: str, role: Role) -> None:
    """Check the rights for a pull from ECR. The first right can't be limited to a repository."""
    repository = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{image.repository}"
    needed = (
        ("ecr:GetAuthorizationToken", "*", ErrorCode.GET_ECR_CREDENTIAL_ERROR),
        ("ecr:BatchGetImage", repository, ErrorCode.DOCKER_PULL_ERROR),
        ("ecr:GetDownloadUrlForLayer", repository, ErrorCode.DOCKER_PULL_ERROR),
    )
    for action, resource, code in needed:
        if not role.allows(action, resource):
            raise DeploymentFailed(
                f"Failed to download artifact name: 'docker:{image.reference}' for component"
                f" {component}, reason: the device's token exchange role is not authorized to"
                f" perform: {action} on resource: {resource} because no identity-based policy"
                f" allows the {action} action",
                ErrorCode.ARTIFACT_DOWNLOAD_ERROR,
                ErrorCode.DOCKER_ERROR,
                code,
            )


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DeploymentFailed(
            "there is no docker on this device's PATH: install the Docker CLI",
            ErrorCode.ARTIFACT_DOWNLOAD_ERROR,
            ErrorCode.DOCKER_ERROR,
            ErrorCode.DOCKER_SERVICE_UNAVAILABLE,
        ) from error
