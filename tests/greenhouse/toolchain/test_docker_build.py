"""Which docker `make images` builds with, whatever docker is first on PATH."""

from __future__ import annotations

import pytest

from greenhouse.toolchain import base_images, docker_build
from tests.greenhouse.toolchain.machine import Machine
from tests.greenhouse.toolchain.test_docker import client


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("named", [True, False])
def test_greenhouse_s_bases_are_there_before_a_build_that_names_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    prepared = []
    monkeypatch.setattr(docker_build, "prepare_bases", lambda docker, _: prepared.append(docker))
    builder = machine.tool("docker", client("20.10.24"))
    arguments = ["--build-arg", f"BUILD_IMAGE={base_images.BUILD.tag}"] if named else []
    found = docker_build.prepare_build([*arguments, "edge"], machine.progress)
    assert found.client == builder
    assert prepared == ([found] if named else []), "otherwise it would need Debian, or a registry"
