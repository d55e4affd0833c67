"""The base images of a Dockerfile are named by their registry's digests."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from rich.console import Console

from greenhouse.home import ACCESS_KEY, REGION
from greenhouse.toolchain import Toolchain, pin_base_images
from greenhouse.toolchain.commands import ToolchainFailed
from greenhouse.toolchain.progress import Progress
from tests.greenhouse.cloud.conftest import SECRET

OURS = Path("edge/Dockerfile").read_text()
QUIET = Progress(Console(file=io.StringIO()))


def test_the_dockerfile_s_two_bases_have_lines_that_dependabot_reads() -> None:
    named = {one["image"] for one in pin_base_images.images(OURS)}
    assert len(named) == 2, "stages and `scratch` are no images of a registry"
    assert all(
        re.search(rf"^FROM .*{re.escape(one)}\S* AS \w+-image$", OURS, re.M) for one in named
    )


@pytest.mark.parametrize(
    ("name", "known", "digest"),
    [
        ("python:3.11-slim", ["python@sha256:1"], "sha256:1"),
        ("docker.io/library/python:3.11", ["other@sha256:2", "python@sha256:1"], "sha256:1"),
        ("gcr.io/d/python3", ["gcr.io/d/python3@sha256:1"], "sha256:1"),
        ("localhost:5000/a", ["localhost:5000/a@sha256:1"], "sha256:1"),
    ],
)
def test_the_digest_is_that_of_the_image_s_own_repository(
    name: str, known: list[str], digest: str
) -> None:
    assert pin_base_images._of(name, known) == digest
    with pytest.raises(ToolchainFailed, match="knows no digest"):
        pin_base_images._of(name, ["elsewhere@sha256:3"])


class Registry:
    """greenhouse's registry, with what a test has pushed."""

    def __init__(self, tools: Toolchain, port: int, folder: Path) -> None:
        self.docker, self._config = tools.docker, folder / "docker"
        self.repository = f"127.0.0.1:{port}/pins/base"
        ecr = boto3.client(
            "ecr",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
        )
        ecr.create_repository(repositoryName="pins/base")
        [given] = ecr.get_authorization_token()["authorizationData"]
        login = b64decode(given["authorizationToken"]).decode().partition(":")[2]
        host = self.repository.partition("/")[0]
        self.run("login", "--username=AWS", "--password-stdin", host, given=login)
        self._folder, self.ecr = folder, ecr

    def run(self, *words: str, given: str = "") -> None:
        environment = {**os.environ, **self.docker.env, "DOCKER_CONFIG": str(self._config)}
        subprocess.run(
            self.docker.argv(*words),
            env=environment,
            input=given,
            text=True,
            check=True,
            capture_output=True,
        )

    def push(self, tag: str, content: str) -> str:
        """Push an image with that content under the tag. Returns the registry's digest."""
        context = self._folder / "context"
        context.mkdir(exist_ok=True)
        # Another run on this engine would remove the same image.
        (context / "content").write_text(f"{content} {self._folder}")
        (context / "Dockerfile").write_text("FROM scratch\nCOPY content /\n")
        name = f"{self.repository}:{tag}"
        self.run("build", "--tag", name, str(context))
        self.run("push", name)
        self.run("image", "rm", name)
        found = self.ecr.describe_images(repositoryName="pins/base", imageIds=[{"imageTag": tag}])
        return str(found["imageDetails"][0]["imageDigest"])


@pytest.fixture
def registry(tools: Toolchain, ministack_port: int, tmp_path: Path) -> Iterator[Registry]:
    made = Registry(tools, ministack_port, tmp_path)
    yield made
    shutil.rmtree(tmp_path / "docker")


@pytest.mark.docker
def test_a_tag_becomes_the_digest_of_today_and_what_is_built_stays_the_same_tomorrow(
    registry: Registry, tmp_path: Path
) -> None:
    tag = f"{registry.repository}:1"
    today = registry.push("1", "today")
    text = f"# bases\nFROM --platform=linux/amd64 {tag} AS build-image\nFROM build-image AS app\n"
    pinned = pin_base_images.pinned(registry.docker, text, QUIET)
    assert pinned == text.replace(tag, f"{tag}@{today}")
    registry.run("image", "rm", tag)
    tomorrow = registry.push("1", "tomorrow")
    assert tomorrow != today
    (tmp_path / "Dockerfile").write_text(pinned)
    out = tmp_path / "out"
    registry.run("build", f"--output=type=local,dest={out}", str(tmp_path))
    assert (out / "content").read_text().startswith("today ")
    assert pin_base_images.pinned(registry.docker, pinned, QUIET) == text.replace(
        tag, f"{tag}@{tomorrow}"
    )
    registry.run("image", "rm", tag)
