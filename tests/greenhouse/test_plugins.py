"""Real plugins where they can be had, one clear line elsewhere, and no change between the two."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from greenhouse import toolchain
from greenhouse.environment import pulumi_environment, shell_environment
from greenhouse.home import PROJECT_DIR, Home
from greenhouse.plugins import Plugins, PluginsRefused, choose

DOCKER = metadata.version("pulumi-docker")
FAILING = "#!/bin/sh\necho 'error: download of $5: no route to host' >&2\nexit 1\n"
INSTALLING = """#!/bin/sh
folder="$PULUMI_HOME/plugins/resource-$4-$5"
mkdir -p "$folder" && : > "$folder/pulumi-resource-$4"
"""
# A plugin of our own: the stand-in, started as the CLI starts any plugin.
STAND_IN = """#!{python}
import pathlib, sys
sys.path.insert(0, {project!r})
from greenhouse.home import free_ports
from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.server import serve
port = free_ports(1)[0]
there = "http://127.0.0.1:1"
(server,) = serve(f"docker:{{port}}", AwsClients(
    endpoint=there, control_endpoint=there, sts_endpoint=there))
pathlib.Path({mark!r}).touch()
print(port, flush=True)
server.wait_for_termination()
"""
PROGRAM = """
import pulumi_docker as docker
docker.Image(
    "image",
    image_name="edge:v1",
    skip_push=True,
    build=docker.DockerBuildArgs(context=".", platform="linux/amd64"),
)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def tools_path(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def executable(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


def environment(home: Home, tools_path: Path) -> dict[str, str]:
    base = {"PATH": f"{tools_path}:/usr/bin:/bin"}
    return base | shell_environment(home, path=[], docker_host=None, base=base)


def attached(home: Home) -> list[str]:
    named = pulumi_environment(home, home.ports())["PULUMI_DEBUG_PROVIDERS"].split(",")
    return [entry.partition(":")[0] for entry in named]


def a_stack(home: Home) -> None:
    file = home.stacks / ".pulumi/stacks/edge-inference/local.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")


def test_a_new_greenhouse_has_stand_ins_for_all(home: Home, tools_path: Path) -> None:
    choose(home, None, environment(home, tools_path))
    assert attached(home) == ["aws", "aws-native", "docker"]


@pytest.mark.parametrize("found", ["on PATH", "downloaded"])
def test_real_plugins_are_left_to_the_cli(home: Home, tools_path: Path, found: str) -> None:
    if found == "on PATH":
        for name in ("aws-native", "docker"):
            executable(tools_path / f"pulumi-resource-{name}", "#!/bin/sh\n")
    else:
        executable(tools_path / "pulumi", INSTALLING)
    env = environment(home, tools_path)
    choose(home, Plugins.REAL, env)
    assert attached(home) == ["aws"], "the real aws plugin doesn't work here"
    assert pulumi_environment(home, home.ports())["AWS_MAX_ATTEMPTS"] == "3"
    choose(home, None, env)
    assert attached(home) == ["aws"], "it keeps what it has"


def test_a_plugin_that_can_not_be_had_is_named_with_what_to_type(
    home: Home, tools_path: Path
) -> None:
    executable(tools_path / "pulumi", FAILING)
    executable(tools_path / "pulumi-resource-aws-native", "#!/bin/sh\n")
    with pytest.raises(PluginsRefused) as refused:
        choose(home, Plugins.REAL, environment(home, tools_path))
    said = str(refused.value)
    assert f"docker {DOCKER} (error: download of" in said.split("\n")[0]
    assert "aws-native" not in said, "that one was found"
    assert "\n    pulumi plugin install resource" in said
    assert attached(home) == ["aws", "aws-native", "docker"], "nothing was chosen"


def test_a_plugin_that_the_cli_is_told_to_ignore_does_not_count(
    home: Home, tools_path: Path
) -> None:
    executable(tools_path / "pulumi", FAILING)
    for name in ("aws-native", "docker"):
        executable(tools_path / f"pulumi-resource-{name}", "#!/bin/sh\n")
    env = environment(home, tools_path) | {"PULUMI_IGNORE_AMBIENT_PLUGINS": "true"}
    with pytest.raises(PluginsRefused, match="aws-native"):
        choose(home, Plugins.REAL, env)


@pytest.mark.parametrize(
    ("first", "then"), [(None, Plugins.REAL), (Plugins.REAL, Plugins.STAND_INS)]
)
def test_a_stack_keeps_the_plugins_that_it_was_made_with(
    home: Home, tools_path: Path, first: Plugins | None, then: Plugins
) -> None:
    for name in ("aws-native", "docker"):
        executable(tools_path / f"pulumi-resource-{name}", "#!/bin/sh\n")
    env = environment(home, tools_path)
    choose(home, first, env)
    choose(home, then, env)  # There is no stack.
    choose(home, first or Plugins.STAND_INS, env)
    a_stack(home)
    choose(home, first, env)
    before = attached(home)
    with pytest.raises(PluginsRefused, match=rf"make down && make up PLUGINS={then.value}"):
        choose(home, then, env)
    assert attached(home) == before


@pytest.mark.whole
def test_the_cli_takes_a_plugin_that_is_on_path(
    home: Home, tools_path: Path, tmp_path: Path, tools: toolchain.Toolchain
) -> None:
    del tools  # They are first on PATH by now.
    mark, program = tmp_path / "started", tmp_path / "program"
    script = STAND_IN.format(python=sys.executable, project=str(PROJECT_DIR), mark=str(mark))
    executable(tools_path / "pulumi-resource-docker", script)
    executable(tools_path / "pulumi-resource-aws-native", "#!/bin/sh\n")
    base = {
        **os.environ,
        "PATH": f"{tools_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    choose(home, Plugins.REAL, base | shell_environment(home, path=[], docker_host=None, base=base))
    env = base | shell_environment(home, path=[], docker_host=None, base=base)
    home.stacks.mkdir()
    program.mkdir()
    (program / "Pulumi.yaml").write_text("name: program\nruntime: python\n")
    (program / "__main__.py").write_text(PROGRAM)
    (program / "Dockerfile").write_text("FROM scratch\n")
    for words in (["stack", "init", "test"], ["preview", "--stack", "test"]):
        done = subprocess.run(
            ["pulumi", *words, "--non-interactive"],
            cwd=program,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    assert "docker:index:Image" in done.stdout
    assert mark.exists(), "the CLI started it"
