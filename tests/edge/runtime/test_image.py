"""The image as a component runs it: built for real, with every restriction of the recipe."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import xgboost

from edge.inference import memory
from edge.inference.protocol import ANSWER_TOPIC, encode_request
from edge.inference.settings import Engine
from greenhouse.toolchain import Toolchain
from infra.provenance import sbom
from infra.provenance.image import merged
from tests.bench.client import Client
from tests.edge.compiling import answers_of, compiled, shipped
from tests.edge.rows import assert_same_bits
from tests.edge.runtime.messages import ask_all, worst
from tests.infra.pulumi_yaml import declared

pytestmark = pytest.mark.docker

EDGE = Path(__file__).parents[3] / "edge"
SAMPLES = EDGE / "consumer/samples.json"
CONSUMER = EDGE / "consumer/consumer.py"
RESTRICTIONS = (
    *("--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
    *("--user=65532:65532", f"--memory={declared()['memory']['default']}m", "--pids-limit=64"),
)
IPC = ("SVCUID", "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", "AWS_IOT_THING_NAME")
OWN = f"--label=tests={uuid4().hex}"
ELF_MACHINES = {"amd64": 62, "arm64": 183}


def docker(*arguments: object, check: bool = True, **environment: str) -> str:
    done = subprocess.run(
        ["docker", *map(str, arguments)],
        env={**os.environ, "DOCKER_BUILDKIT": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip() or done.stderr.strip()


def build(
    architecture: str,
    *options: str,
    context: Path = EDGE,
    runtime: str = "scratch",
    engine: Engine = Engine.EVALUATOR,
) -> str:
    """An image of this run alone. Builds are reproducible, so another run's would be the same.

    Its clean-up would then remove both.
    """
    bases = {"BUILD_IMAGE": "greenhouse/build:bookworm", "RUNTIME_IMAGE": runtime}
    arguments = [f"--build-arg={name}={value}" for name, value in bases.items()]
    arguments.append(f"--target={engine}")
    platform = f"--platform=linux/{architecture}"
    return docker("build", "-q", platform, OWN, *options, *arguments, context)


@pytest.fixture(scope="module", params=list(Engine))
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(request.param)


@pytest.fixture(scope="module")
def image(tools: Toolchain, engine: Engine) -> Iterator[str]:
    assert tools.path
    built = build("amd64", runtime="greenhouse/runtime:bookworm", engine=engine)
    yield built
    # The engine refuses if a stack still uses it. Then it stays.
    docker("image", "rm", built, check=False)


class Containers:
    """Containers with the recipe's restrictions. Each has its component's token."""

    def __init__(self, image: str, nucleus: Any) -> None:
        self._image = image
        self._nucleus = nucleus
        self.names: list[str] = []

    def run(self, component: str, command: list[str], files: list[Path], *options: str) -> str:
        name = f"{component}.{uuid4().hex[:8]}"
        self.names.append(name)
        socket = self._nucleus.socket
        mounts = [f"--volume={socket}:{socket}"]
        mounts += [f"--volume={file}:/artifacts/{file.name}:ro" for file in files]
        passed = [f"--env={variable}" for variable in IPC]
        docker(
            *("run", "--detach", "--name", name, *RESTRICTIONS, *mounts, *passed),
            *(*options, self._image, *command),
            **self._nucleus.environment(component),
        )
        return name

    def exit_code(self, name: str) -> int:
        return int(docker("wait", name))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in docker("logs", name).splitlines() if line]

    def until(self, name: str, event: str) -> dict[str, Any]:
        """The first such event. pytest's time limit ends a wait for an event that never comes."""
        with subprocess.Popen(
            ["docker", "logs", "--follow", name], stdout=subprocess.PIPE, text=True
        ) as log:
            assert log.stdout
            for line in log.stdout:
                said: dict[str, Any] = json.loads(line)
                if said["event"] == event:
                    log.kill()
                    return said
        pytest.fail(f"{name} ended without {event!r}: {self.events(name)}")


@pytest.fixture
def containers(image: str, nucleus: Any) -> Iterator[Containers]:
    running = Containers(image, nucleus)
    yield running
    for name in running.names:
        docker("rm", "--force", name)


def test_service_check_and_consumer_meet_in_containers_of_one_image(
    containers: Containers, golden: Path, engine: Engine
) -> None:
    answers_of(shipped(engine), golden)
    wanted = json.loads(golden.read_text())
    serve = ["serve", "--model", f"/artifacts/{shipped(engine).name}", "--engine", engine]
    service = containers.run("com.ml.xgboost", serve, [shipped(engine)])
    assert containers.until(service, "ready")["model"] == wanted["model"]

    command_of_check = ["check", "--samples", "/artifacts/samples.json"]
    command_of_check += ["--golden", "/artifacts/golden.json", "--timeout", "120"]
    check = containers.run("com.ml.check", command_of_check, [SAMPLES, golden])
    assert containers.exit_code(check) == 0, containers.events(check)

    command = ["/artifacts/consumer.py", "--samples", "/artifacts/samples.json"]
    consumer = containers.run(
        "com.ml.consumer",
        [*command, "--interval", "0.1"],
        [CONSUMER, SAMPLES],
        "--entrypoint=/usr/bin/python3",
    )
    answer = containers.until(consumer, "answer")
    assert (answer["model"], answer["predictions"]) == (wanted["model"], wanted["predictions"])

    for name in (service, consumer):
        docker("stop", "--time", 10, name)
        assert containers.exit_code(name) == 0, "137 would be SIGKILL: SIGTERM was not heard"
    check = containers.run("com.ml.check", command_of_check, [SAMPLES, golden])
    containers.until(check, "asking")
    docker("stop", "--time", 10, check)
    assert containers.exit_code(check) == 143, "0 would be a check that has passed"


def test_process_1_hears_sigterm_while_it_starts(containers: Containers, tmp_path: Path) -> None:
    """The kernel drops it otherwise, and Greengrass would wait for SIGKILL."""
    slow = tmp_path / "traceback.py"  # the first of the longer imports
    slow.write_text(
        """import signal\nprint('{"event": "importing"}', flush=True)\nsignal.pause()"""
    )
    service = containers.run(
        "com.ml.xgboost", ["serve"], [slow], "--env=PYTHONPATH=/artifacts:/app"
    )
    containers.until(service, "importing")
    docker("stop", "--time", 10, service)
    assert containers.exit_code(service) == 143


@pytest.mark.parametrize("end", ["ctypes.string_at(0)", "os.abort()"])
def test_a_crash_of_process_1_is_an_error_of_its_own(image: str, end: str) -> None:
    """Whose code isn't among those of an end from outside, which scripts.py knows."""
    python = ("--entrypoint=/usr/bin/python3", image, "-c", f"import ctypes, os; {end}")
    done = subprocess.run(["docker", "run", "--rm", *python], capture_output=True, check=False)
    assert done.returncode == 139


def test_no_message_that_a_nucleus_carries_ends_the_service(
    containers: Containers, nucleus: Any, engine: Engine
) -> None:
    """At the kernel's own limit: the least that memory.py states, for XGBoost the default."""
    least = math.ceil(memory.LEAST / memory.MIB)
    limit = {Engine.EVALUATOR: least, Engine.XGBOOST: declared()["memory"]["default"]}[engine]
    serve = ["serve", "--model", f"/artifacts/{shipped(engine).name}", "--engine", engine]
    options = (f"--memory={limit}m", f"--memory-swap={limit}m")  # No swap.
    service = containers.run("com.ml.xgboost", serve, [shipped(engine)], *options)
    containers.until(service, "ready")
    token = nucleus.environment("com.ml.asker")["SVCUID"]
    requests = worst(1, json.loads(SAMPLES.read_text())[:1])
    replies = ask_all(lambda: Client(nucleus.socket, token, ANSWER_TOPIC), requests)
    assert len(replies) == len(requests), "one each"
    docker("stop", "--time", 10, service)
    assert containers.exit_code(service) == 0, "137 would be the kernel's"


@pytest.mark.parametrize("engine", [Engine.EVALUATOR], indirect=True)
def test_2000_trees_of_depth_8_answer_in_a_container_of_64_mib(
    containers: Containers, nucleus: Any, tmp_path: Path
) -> None:
    random = np.random.default_rng(8)
    rows = random.normal(size=(3_000, 4)).astype(np.float32)
    matrix = xgboost.DMatrix(rows, label=random.normal(size=len(rows)), nthread=1)
    asked = {"max_depth": 8, "min_child_weight": 0, "eta": 0.01, "max_bin": 32, "nthread": 1}
    model = xgboost.train(asked, matrix, 2_000)
    file = tmp_path / "model"
    file.write_bytes(compiled(bytes(model.save_raw("ubj"))))
    assert file.stat().st_size > 4_500_000, "most trees are full"

    serve = ["serve", "--model", f"/artifacts/{file.name}", "--engine", Engine.EVALUATOR]
    limits = ("--memory=64m", "--memory-swap=64m")  # No swap.
    service = containers.run("com.ml.xgboost", serve, [file], *limits)
    assert containers.until(service, "ready")["trees"] == 2_000
    names = [f"f{column}" for column in range(4)]
    records = [dict(zip(names, row, strict=True)) for row in rows[:100].tolist()]
    token = nucleus.environment("com.ml.asker")["SVCUID"]
    question = encode_request("all", records)
    [reply] = ask_all(lambda: Client(nucleus.socket, token, ANSWER_TOPIC), [question])
    theirs = model.predict(xgboost.DMatrix(rows[:100], nthread=1))
    assert_same_bits(np.array(reply["predictions"]), theirs)
    docker("stop", "--time", 10, service)
    assert containers.exit_code(service) == 0, "137 would be the kernel's"


def test_nothing_but_python_can_be_run(image: str) -> None:
    for program in ("sh", "/bin/sh", "bash", "dash", "apt-get", "dpkg"):
        said = docker("run", "--rm", "--entrypoint", program, image, check=False)
        assert "executable file not found" in said or "no such file" in said, program
    assert docker("inspect", "--format", "{{.Config.User}}", image) == "65532:65532"


def test_the_library_is_compiled_and_a_base_is_slimmed(image: str) -> None:
    script = (
        "import importlib.util as u, json, os;"
        " print(os.path.exists(json.__cached__), u.find_spec('sqlite3'), u.find_spec('_ssl'))"
    )
    said = docker("run", "--rm", "--entrypoint", "/usr/bin/python3", image, "-c", script)
    assert said == "True None None"


def test_a_base_without_debians_python_is_refused_by_name(tools: Toolchain, tmp_path: Path) -> None:
    assert tools.path
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    base = f"edge-inference/test:{uuid4().hex[:8]}"
    docker("build", "-q", f"--tag={base}", tmp_path)
    said = docker(
        *("build", "--build-arg=BUILD_IMAGE=greenhouse/build:bookworm"),
        *(f"--build-arg=RUNTIME_IMAGE={base}", EDGE),
        check=False,
    )
    docker("image", "rm", base)
    assert "RUNTIME_IMAGE has no usr/lib/python3.11" in said, said


def test_the_image_says_what_is_in_it(image: str, engine: Engine) -> None:
    files = ["requirements.txt"]
    if engine is Engine.XGBOOST:
        files.append("requirements-xgboost.txt")
    script = f"for name in {files}: print(open('/app/' + name).read(), end='')"
    said = docker("run", "--rm", "--entrypoint", "/usr/bin/python3", image, "-c", script)
    assert said == "".join((EDGE / name).read_text() for name in files).strip()


def test_a_device_downloads_no_more_than_it_is_told(image: str, engine: Engine) -> None:
    unpacked = int(docker("inspect", "--format", "{{.Size}}", image))
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
        assert saved.stdout
        packed = len(zlib.compress(saved.stdout.read()))
    most = {Engine.EVALUATOR: (40, 14), Engine.XGBOOST: (60, 20)}[engine]  # MB
    assert unpacked < most[0] * 10**6
    assert packed < most[1] * 10**6


def layers(image: str) -> Iterator[bytes]:
    """The layers as a registry has them, the lowest first."""
    saved = subprocess.run(["docker", "save", image], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest
        for path in json.load(manifest)[0]["Layers"]:
            layer = archive.extractfile(path)
            assert layer
            yield layer.read()


def exported(image: str, architecture: str) -> dict[str, str]:
    """Every file of a container according to the engine: its sha256, or the target of its link."""
    container = docker("create", f"--platform=linux/{architecture}", image)
    try:
        tar = subprocess.run(["docker", "export", container], stdout=subprocess.PIPE, check=True)
    finally:
        docker("rm", container)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(tar.stdout)) as archive:
        for member in archive:
            if member.issym():
                found[member.name] = member.linkname
            elif content := archive.extractfile(member):
                found[member.name] = hashlib.sha256(content.read()).hexdigest()
    return found


ENGINES_OWN = {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"} | {
    "etc/mtab"  # The engine puts these into each container.
}


def listed(text: str) -> dict[str, str]:
    """The files in a bill of materials."""
    found = {}
    for package in json.loads(text)["components"]:
        assert package["components"], f"{package['name']} is in the list and not in the image"
        for file in package["components"]:
            links = [one["value"] for one in file.get("properties", ())]
            [found[file["name"]]] = links or [one["content"] for one in file["hashes"]]
    return found


def check_the_list(image: str, architecture: str, engine: Engine) -> None:
    there = exported(image, architecture)
    for path in ENGINES_OWN:
        there.pop(path, None)
    text = sbom.document(f"host/name@{image}", architecture, merged(layers(image)))
    assert listed(text) == there
    names = {one["name"] for one in json.loads(text)["components"]}
    assert names >= {"awscrt", "awsiotsdk", "edge-inference", "libc6", "python3.11-minimal"}
    assert ("xgboost-cpu" in names) == (engine is Engine.XGBOOST)
    assert "libssl3" not in names, "slim.sh left nothing of it, and its entry would be a false one"
    unlicensed = [one["name"] for one in json.loads(text)["components"] if "licenses" not in one]
    assert unlicensed == ["debian"], "the distribution's few files are no package's"


def test_the_bill_of_materials_has_each_file_of_the_image_and_no_other(
    image: str, engine: Engine
) -> None:
    check_the_list(image, "amd64", engine)


# It makes the other architecture's base from Debian's packages, which takes half a minute.
@pytest.mark.matrix
def test_so_it_has_for_the_other_architecture(foreign: str, engine: Engine) -> None:
    built = build("arm64", runtime=foreign, engine=engine)
    try:
        check_the_list(built, "arm64", engine)
    finally:
        docker("image", "rm", built)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_layers_are_built_for_their_architecture_without_emulation(
    tools: Toolchain, tmp_path: Path, architecture: str
) -> None:
    assert tools.path
    image = build(architecture, engine=Engine.XGBOOST)
    try:
        assert docker("inspect", "--format", "{{.Architecture}}", image) == architecture
        assert int(docker("inspect", "--format", "{{.Size}}", image)) < 27_000_000, "stripped?"
        container = docker("create", f"--platform=linux/{architecture}", image)
        try:
            docker("cp", f"{container}:/app", tmp_path)
        finally:
            docker("rm", container)
    finally:
        docker("image", "rm", image)
    for library in (
        *("_awscrt.abi3.so", "edge/inference/engines/libforest.so"),
        *("xgboost/lib/libxgboost.so", "xgboost_cpu.libs/libgomp-*"),
    ):
        [path] = (tmp_path / "app").glob(library)
        header = path.read_bytes()[:20]
        assert int.from_bytes(header[18:20], "little") == ELF_MACHINES[architecture], library


def test_the_same_sources_make_the_same_layer_wherever_they_lie(
    tools: Toolchain, tmp_path: Path
) -> None:
    assert tools.path
    copy = tmp_path / "elsewhere"
    shutil.copytree(EDGE, copy, copy_function=shutil.copy)
    for path in (copy / "inference").rglob("*"):
        path.chmod(0o700)
        os.utime(path, (0, 0))
    layers = []
    for context, *cache in ((EDGE,), (copy, "--no-cache")):
        image = build("amd64", *cache, context=context, engine=Engine.XGBOOST)
        layers.append(docker("inspect", "--format", "{{.RootFS.Layers}}", image))
        docker("image", "rm", image, check=False)
    assert layers[0] == layers[1]


def test_an_architecture_without_pinned_wheels_is_refused_by_name(tools: Toolchain) -> None:
    assert tools.path
    bases = [
        "--build-arg=BUILD_IMAGE=greenhouse/build:bookworm",
        "--build-arg=RUNTIME_IMAGE=scratch",
    ]
    said = docker("build", "--platform=linux/riscv64", *bases, EDGE, check=False)
    assert "not for riscv64" in said


def test_make_images_builds_each_though_the_first_docker_on_path_can_t(
    tools: Toolchain, tmp_path: Path
) -> None:
    assert tools.path
    first = tmp_path / "docker"
    first.write_text("#!/bin/sh\n[ $1 = --version ] && echo Docker version 28.2.2\n")
    first.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    bases = ["BUILD_IMAGE=greenhouse/build:bookworm", "RUNTIME_IMAGE=scratch"]
    here = Path(sys.executable).parent
    done = subprocess.run(
        ["make", "--silent", "--old-file=.venv/.installed", f"BIN={here}", "images", *bases],
        cwd=EDGE.parent,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    built = done.stdout.split()
    shown = docker("image", "inspect", "--format={{.Architecture}}", *built).split()
    docker("image", "rm", *built, check=False)
    assert sorted(shown) == sorted([*ELF_MACHINES] * len(Engine))
    assert len(set(built)) == len(built), "each engine's is another"
