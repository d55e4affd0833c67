"""The image: checks without an engine, and builds and pushes with a real engine."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from greenhouse import toolchain
from greenhouse.providers.protocol.wire import Secret
from tests.greenhouse.providers.provider_engine import NONE, Engine, Rejected, State
from tests.greenhouse.providers.test_build_context import CASES, TREE

IMAGE = "docker:index/image:Image"
DOCKERFILE = "FROM scratch\nARG GREETING=none\nLABEL greeting=$GREETING\nCOPY . /app/\n"
# Another run on this engine would make the same image, and remove it.
OWN = f"LABEL tests={secrets.token_hex(4)}\n"


@pytest.fixture
def context(program: Path) -> Path:
    """The build context `edge` in the program's folder."""
    edge = program / "edge"
    edge.mkdir()
    (edge / "Dockerfile").write_text(DOCKERFILE + OWN)
    (edge / "service.py").write_text("print('hello')\n")
    return edge


def image(name: str, **more: Any) -> dict[str, Any]:
    build = {"context": "edge", "platform": "linux/amd64"} | more.pop("build", {})
    return {"imageName": name, "build": build, "buildOnPreview": False, "skipPush": False, **more}


NAME = "127.0.0.1:5000/edge:v1"


@pytest.mark.usefixtures("context")
class TestWithoutAnEngine:
    """Check and Diff need only the program's folder."""

    def test_the_context_is_the_programs_own(self, engine: Engine, context: Path) -> None:
        state = State(IMAGE, "it")
        first = engine.check(state, image(NAME))["build"]["contextDigest"]
        (context / "service.py").write_text("print('bye')\n")
        assert engine.check(state, image(NAME))["build"]["contextDigest"] != first

    def test_another_context_is_an_update_and_never_a_replacement(
        self, engine: Engine, context: Path
    ) -> None:
        state = State(IMAGE, "it", id=NAME)
        state.inputs = engine.check(state, image(NAME))
        state.outputs = {"__inputs": Secret(state.inputs)}
        assert engine.diff(state, image(NAME)).changes == NONE
        (context / "service.py").write_text("print('bye')\n")
        diff = engine.diff(state, image(NAME))
        assert list(diff.detailedDiff) == ["build"]
        assert not diff.replaces
        other = engine.diff(state, image("127.0.0.1:5000/edge:v2"))
        assert not other.replaces

    @pytest.mark.parametrize(
        ("wanted", "reason"),
        [
            ({"build": {"context": "edge"}}, "imageName is required"),
            ({"imageName": NAME, "build": {"builder": "x"}}, "build.builder is not a property"),
            (
                {"imageName": NAME, "build": {"context": "edge", "cacheFrom": {}}},
                "build.cacheFrom is not acted on by greenhouse",
            ),
        ],
    )
    def test_wrong_inputs_are_refused(
        self, engine: Engine, wanted: dict[str, Any], reason: str
    ) -> None:
        with pytest.raises(Rejected, match=reason):
            engine.check(State(IMAGE, "it"), wanted)

    def test_no_engine_is_said_even_before_a_preview(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        client = tmp_path / "bin" / "docker"
        client.parent.mkdir()
        client.write_text("#!/bin/sh\necho Cannot connect to the Docker daemon >&2; exit 1\n")
        client.chmod(0o755)
        monkeypatch.setenv("PATH", str(client.parent), prepend=":")
        with pytest.raises(Rejected, match="failed to connect to any docker daemon"):
            engine.configure("docker")
        assert any("(make up does)" in line for line in engine.heard), "it says what to do"


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(engine: Engine, tools: toolchain.Toolchain) -> Iterator[str]:
    """An immutable repository's address. Its images leave the engine afterwards."""
    del tools
    engine.configure("docker")
    name = f"edge-inference/test-{secrets.token_hex(4)}"
    made = engine.create(
        "aws:ecr/repository:Repository",
        name=name,
        imageTagMutability="IMMUTABLE",
        forceDelete=True,
    )
    address = str(made.outputs["repositoryUrl"])
    yield address
    engine.delete(made)
    for found in set(docker("image", "ls", "--quiet", address).split()):
        docker("image", "rm", "--force", found)


def login(engine: Engine) -> dict[str, Any]:
    token = engine.invoke("aws:ecr/getAuthorizationToken:getAuthorizationToken")
    return {
        "server": token["proxyEndpoint"],
        "username": token["userName"],
        "password": token["password"],
    }


@pytest.mark.docker
@pytest.mark.usefixtures("context")
class TestWithAnEngine:
    """Real builds of an image from scratch."""

    def test_an_image_is_built_pushed_and_known_by_its_digest(
        self, engine: Engine, repository: str
    ) -> None:
        wanted = image(
            f"{repository}:v1", registry=login(engine), build={"args": {"GREETING": "servus"}}
        )
        made = engine.create(IMAGE, **wanted)
        assert made.id == f"{repository}:v1"
        address, _, digest = made.outputs["repoDigest"].partition("@")
        assert address == repository
        name = repository.partition("/")[2]
        found = boto3.client("ecr").describe_images(repositoryName=name)["imageDetails"]
        # An image in an index of Docker 29 has no tag. MiniStack takes no filter.
        (stored,) = [one for one in found if one.get("imageTags")]
        assert (stored["imageDigest"], stored["imageTags"]) == (digest, ["v1"])

        docker("image", "rm", "--force", f"{repository}:v1", made.outputs["repoDigest"])
        docker("pull", "--quiet", made.outputs["repoDigest"])
        (pulled,) = json.loads(docker("image", "inspect", made.outputs["repoDigest"]))
        assert pulled["Config"]["Labels"]["greeting"] == "servus"

        assert any("COPY . /app/" in line for line in engine.heard), "a long build shows progress"
        assert isinstance(made.outputs["__inputs"], Secret)
        shown = {name: one for name, one in made.outputs.items() if name != "__inputs"}
        assert wanted["registry"]["password"] not in json.dumps(shown)
        assert engine.refresh(made)
        assert engine.diff(made, wanted).changes == NONE

    def test_an_immutable_tag_is_never_pushed_twice_not_even_the_same_bytes(
        self, engine: Engine, repository: str, context: Path
    ) -> None:
        wanted = image(f"{repository}:v1", registry=login(engine))
        made = engine.create(IMAGE, **wanted)
        with pytest.raises(Rejected, match=r"tag invalid: The image tag 'v1' already exists"):
            engine.up(made, **wanted)
        (context / "service.py").write_text("print('bye')\n")
        engine.up(made, **{**wanted, "imageName": f"{repository}:v2"})
        assert made.outputs["imageName"].endswith(":v2")

    def test_an_image_that_is_not_pushed_is_known_by_its_id(
        self, engine: Engine, repository: str
    ) -> None:
        made = engine.create(IMAGE, **image(f"{repository}:local", skipPush=True))
        inspected = json.loads(docker("image", "inspect", f"{repository}:local"))
        assert made.outputs["repoDigest"] == inspected[0]["Id"]

    def test_a_failing_build_shows_its_last_lines(
        self, engine: Engine, repository: str, context: Path
    ) -> None:
        (context / "Dockerfile").write_text("FROM scratch\nCOPY nothing-there /\n")
        with pytest.raises(Rejected, match=r"error reading build output: .*nothing-there"):
            engine.create(IMAGE, **image(f"{repository}:v1"))
        assert any("COPY nothing-there" in line for line in engine.heard)

    def test_the_builder_and_the_digest_see_the_same_files(
        self, engine: Engine, repository: str, context: Path, tmp_path: Path
    ) -> None:
        for name in TREE:
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            (context / name).write_text(name)
        (context / "service.py").unlink()
        (context / "Dockerfile").write_text(f"FROM scratch\nCOPY . /app/\nCMD none\n{OWN}")
        for number, (ignore, expected) in enumerate(CASES.values()):
            (context / ".dockerignore").write_text(ignore)
            name = f"{repository}:{number}"
            engine.create(IMAGE, **image(name, skipPush=True))
            container = docker("create", name)
            docker("cp", f"{container}:/app", str(tmp_path / str(number)))
            docker("rm", container)
            files = (tmp_path / str(number)).rglob("*")
            found = {str(f.relative_to(tmp_path / str(number))) for f in files if f.is_file()}
            assert found - {".dockerignore"} == expected, f"the engine reads {ignore!r} otherwise"
