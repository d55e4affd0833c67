"""The recipes against what both runtimes, docker and our own programs accept.

A real shell runs the scripts, with a `docker` that writes down its arguments.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.inference import settings as device
from edge.inference.protocol import ANSWER_TOPIC, REQUEST_TOPIC
from infra.names import CHECK, CONSUMER, DEFAULT_NAMES, SERVICE, Names
from infra.publish import recipe

REPOSITORY = (
    "123456789012.dkr.ecr.ap-southeast-1.amazonaws.com/edge-inference/a-stack-of-20-letters"
)
IMAGES = {
    "amd64": f"{REPOSITORY}@sha256:{'a' * 64}",
    "aarch64": f"{REPOSITORY}@sha256:{'b' * 64}",
}
BUCKET = "edge-inference-a-stack-of-20-letter-123456789012-ap-southeast-1"
FILES = ("model.bz2", "samples.json", "golden.json", "consumer.py")
CONTENT = recipe.Content(
    images=IMAGES,
    files=recipe.Files(uris={name: f"s3://{BUCKET}/{'c' * 64}/{name}" for name in FILES}),
    memory=64,
    check_timeout=110,
    consumer_interval=5,
)
CHANNEL = device.Channel(requests=REQUEST_TOPIC, answers=ANSWER_TOPIC)
TOKEN = "a-token-that-nobody-may-see"
NUCLEUS = {
    "SVCUID": TOKEN,
    "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": "/greengrass/v2/ipc.socket",
    "AWS_IOT_THING_NAME": "press-1",
}
STEPS = ("run", "startup", "uninstall")

RECIPES = recipe.recipes(DEFAULT_NAMES)
every_component = pytest.mark.parametrize("name", RECIPES)


def recipe_of(name: str) -> dict[str, Any]:
    return RECIPES[name]("1.2.3", CONTENT)


def lifecycle(name: str) -> dict[str, Any]:
    found = recipe_of(name)["Manifests"][-1]["Lifecycle"]
    assert isinstance(found, dict)
    return found


def scripts(name: str) -> list[str]:
    return [
        step["Script"]
        for manifest in recipe_of(name)["Manifests"]
        for step in manifest["Lifecycle"].values()
    ]


class Shell:
    """Runs a script as a nucleus would, and knows the calls of docker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        docker = folder / "docker"
        docker.write_text(
            "#!/bin/sh\n"
            f'for word; do printf "%s\\n" "$word"; done >> {folder}/asked; echo >> {folder}/asked\n'
            'case $1 in run) exit "$RUN_ENDS";; rm) echo No such container >&2; exit 1;; esac\n'
        )
        docker.chmod(0o755)
        (folder / "sleep").symlink_to("/bin/true")
        self.asked: list[list[str]] = []

    def run(self, script: str, *, ends: int) -> subprocess.CompletedProcess[str]:
        asked = self._folder / "asked"
        asked.write_text("")
        done = subprocess.run(
            [
                "/bin/sh",
                "-c",
                script.replace("{artifacts:path}", "/artifacts-of-greengrass").replace(
                    "{work:path}", str(self._folder)
                ),
            ],
            env={
                "PATH": os.pathsep.join([str(self._folder), "/usr/bin", "/bin"]),
                "RUN_ENDS": str(ends),
                **NUCLEUS,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        calls = asked.read_text().removesuffix("\n\n").split("\n\n")
        self.asked = [call.splitlines() for call in calls]
        return done


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def starting_script(name: str) -> str:
    steps = lifecycle(name)
    return str((steps.get("run") or steps["startup"])["Script"])


def docker_run(shell: Shell, name: str) -> tuple[list[str], list[str]]:
    """The words before the image, and the words after it."""
    shell.run(starting_script(name), ends=0)
    [words] = [call for call in shell.asked if call[0] == "run"]
    image = words.index(IMAGES["amd64"])
    return words[1:image], words[image + 1 :]


# What both runtimes can read


@every_component
def test_every_brace_is_a_recipe_variable(name: str) -> None:
    for script in scripts(name):
        assert "{" not in script.replace("{artifacts:path}", "").replace("{work:path}", ""), (
            "Lite takes every { for a variable and fails the component on any other"
        )


def test_a_good_startup_does_not_leave_before_lite_s_own_last_line() -> None:
    assert not re.search(r"\bexit( 0)?\b(?! [1$])", starting_script(CHECK)), (
        "Lite appends systemd-notify to the script: an exit before it has FAILED"
    )


@every_component
def test_lite_finds_a_manifest_for_each_architecture_it_was_published_for(name: str) -> None:
    manifests = recipe_of(name)["Manifests"]
    assert [manifest["Platform"] for manifest in manifests] == [
        {"os": "linux", "architecture": architecture, "runtime": "*"}
        for architecture in sorted(IMAGES)
    ], "Lite skips a manifest without a runtime, Java knows none but *"


@every_component
def test_words_are_spelt_as_lite_reads_them(name: str) -> None:
    for manifest in recipe_of(name)["Manifests"]:
        assert set(manifest["Lifecycle"]) <= set(STEPS), "steps in lower case"
        for step in manifest["Lifecycle"].values():
            assert set(step) <= {"Script", "Timeout"}, "their keys are not"
        for artifact in manifest["Artifacts"]:
            assert set(artifact) <= {"Uri", "Permission"}, "Uri, not URI"


@every_component
def test_a_recipe_fits_lite_s_buffers_with_the_longest_names_aws_gives(name: str) -> None:
    text = recipe.serialise(recipe_of(name))
    assert len(text.encode()) < 8_000
    assert text.startswith("{"), "the cloud tells JSON from YAML by the first byte"
    assert json.loads(text) == recipe_of(name)


def test_a_recipe_that_lite_could_not_read_is_refused_before_it_is_published() -> None:
    with pytest.raises(ValueError, match=r"com\.ml\.check: .*recipe-size: .*fewer architectures"):
        recipe.serialise(recipe_of(CHECK) | {"ComponentDescription": "x" * 8_000})


@every_component
def test_components_of_aws_may_end_beside_ours(name: str) -> None:
    """On Lite an end of theirs would end ours for good (lite-ml-dam-run-ends, lite-ml-soft)."""
    provided = recipe_of(name)["ComponentDependencies"]
    assert {one["DependencyType"] for one in provided.values()} == {"SOFT"}


def test_our_components_do_not_depend_on_each_other() -> None:
    for one, other in itertools.product(RECIPES, repeat=2):
        assert other not in recipe_of(one)["ComponentDependencies"], (
            f"on Lite {one} would stay down after a crash of {other}"
        )


# What docker is asked for


@every_component
def test_the_options_of_the_container_stand_before_the_image(shell: Shell, name: str) -> None:
    options, command = docker_run(shell, name)
    assert command, "the image is followed by its command"
    text = f" {' '.join(options)} "
    for option in (
        "--rm",
        "--network none",
        "--read-only",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--user 65532:65532",
        "--memory 64m",
        "--pids-limit 64",
        "--log-driver none",
    ):
        assert f" {option} " in text, f"after the image, {option} would be an argument to it"


@every_component
def test_the_token_is_handed_on_by_name(shell: Shell, name: str) -> None:
    options, command = docker_run(shell, name)
    passed = {value for flag, value in itertools.pairwise(options) if flag == "-e"}
    assert passed == set(NUCLEUS), "only what the container's IPC client and log need"
    assert TOKEN not in " ".join([*options, *command]), "argv is readable by every process"


@every_component
def test_every_file_that_the_command_reads_is_mounted_and_was_downloaded(
    shell: Shell, name: str
) -> None:
    options, command = docker_run(shell, name)
    mounts = [value for flag, value in itertools.pairwise(options) if flag == "-v"]
    inside = {mount.split(":")[1]: mount for mount in mounts}
    read = {word for word in command if word.startswith("/artifacts/")}
    assert read == {place for place in inside if place.startswith("/artifacts/")}
    assert all(inside[place].endswith(":ro") for place in read), "a container changes no artifact"
    downloaded = {
        artifact["Uri"].rpartition("/")[2]
        for artifact in recipe_of(name)["Manifests"][-1]["Artifacts"]
        if artifact["Uri"].startswith("s3://")
    }
    assert {place.removeprefix("/artifacts/") for place in read} == downloaded
    socket = NUCLEUS["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"]
    assert inside[socket] == f"{socket}:{socket}", "at its own path, which the SDK is told"


@every_component
def test_another_user_s_files_are_readable_in_the_container(name: str) -> None:
    for manifest in recipe_of(name)["Manifests"]:
        for artifact in manifest["Artifacts"]:
            if artifact["Uri"].startswith("s3://"):
                assert artifact["Permission"] == {"Read": "ALL"}, (
                    "Greengrass gives a file to its owner alone; the container runs as 65532"
                )


@every_component
def test_each_architecture_pulls_the_very_image_that_it_runs(name: str) -> None:
    for manifest in recipe_of(name)["Manifests"]:
        image = IMAGES[manifest["Platform"]["architecture"]]
        pulled = [artifact["Uri"] for artifact in manifest["Artifacts"]]
        assert [uri for uri in pulled if uri.startswith("docker:")] == [f"docker:{image}"]
        steps = manifest["Lifecycle"]
        script = (steps.get("run") or steps["startup"])["Script"]
        assert image in shlex.split(script), "by digest: docker would go and ask for another"


@every_component
def test_the_script_starts_checks_and_removes_the_same_container(shell: Shell, name: str) -> None:
    options, _ = docker_run(shell, name)
    container = options[options.index("--name") + 1]
    assert container == f"{name}.press-1", "several simulated devices share one engine"
    exactly = container.replace(".", "[.]")
    assert shell.asked[0] == ["ps", "-aqf", f"name=^/{exactly}$"], (
        "the container with this very name"
    )
    shell.run(lifecycle(name)["uninstall"]["Script"], ends=0)
    assert shell.asked == [["rm", "-f", container]], "a client killed in mid-start left it behind"


@every_component
def test_a_first_start_says_nothing_about_a_container_that_was_never_there(
    shell: Shell, name: str
) -> None:
    for step in lifecycle(name).values():
        done = shell.run(step["Script"], ends=9)
        assert (done.stdout, done.stderr) == ("", ""), "the log of a good start shows an error"
    assert done.returncode == 0, "a container that is gone already is no failure"


# The gate


@pytest.mark.parametrize("appended", ["", "\nsystemd-notify --ready\n"])
@pytest.mark.parametrize("code", [1, 64, 65, 69, 125, 137])
def test_no_failed_check_starts_the_component(shell: Shell, code: int, appended: str) -> None:
    script = lifecycle(CHECK)["startup"]["Script"]
    assert shell.run(script + appended.replace("systemd-notify", "true"), ends=code).returncode, (
        "Lite runs its own line last: without an exit of ours, that line's success would count"
    )


def test_a_passed_check_reaches_lite_s_own_last_line(shell: Shell) -> None:
    script = lifecycle(CHECK)["startup"]["Script"]
    assert shell.run(f"{script}\necho ready", ends=0).stdout == "ready\n"


def test_greengrass_waits_longer_than_the_check_does() -> None:
    assert lifecycle(CHECK)["startup"]["Timeout"] >= CONTENT.check_timeout + 10, (
        "killed from outside, the check couldn't say which row was wrong"
    )


# Both halves


def test_the_service_takes_the_command_that_the_recipe_gives(shell: Shell) -> None:
    _, command = docker_run(shell, SERVICE)
    assert device.parse(command) == device.Serve(
        model=Path("/artifacts/model.bz2"), engine=device.Engine.EVALUATOR, channel=CHANNEL
    )


def test_the_check_takes_the_command_that_the_recipe_gives(shell: Shell) -> None:
    _, command = docker_run(shell, CHECK)
    assert device.parse(command) == device.Check(
        samples=Path("/artifacts/samples.json"),
        golden=Path("/artifacts/golden.json"),
        timeout=CONTENT.check_timeout,
        channel=CHANNEL,
    )


def test_the_consumer_takes_the_command_that_the_recipe_gives(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, command = docker_run(shell, CONSUMER)
    assert options[-2:] == ["--entrypoint", "/usr/bin/python3"]
    program, *arguments = command
    source = Path("edge/consumer") / Path(program).name
    found = importlib.util.spec_from_file_location("consumer_of_the_recipe", source)
    assert found
    assert found.loader
    consumer = importlib.util.module_from_spec(found)
    found.loader.exec_module(consumer)
    started: list[tuple[Any, ...]] = []
    monkeypatch.setattr(consumer, "run", lambda main: started.append(main.args))
    consumer.main(arguments)
    assert started == [(Path("/artifacts/samples.json"), CONTENT.consumer_interval, CHANNEL)]


def test_a_second_model_on_a_device_shares_no_name_and_no_topic_with_the_first() -> None:
    names = Names(prefix="com-ml")
    other = replace(CONTENT, names=names, request_topic="plant/ask", answer_topic="plant/say")
    for mine, theirs in zip(RECIPES, recipe.recipes(names), strict=True):
        first = recipe.serialise(RECIPES[mine]("1.2.3", CONTENT))
        second = recipe.serialise(recipe.recipes(names)[theirs]("1.2.3", other))
        assert not {mine, REQUEST_TOPIC, ANSWER_TOPIC} & set(re.findall(r"[\w./-]+", second))
        assert "plant/ask" not in first
        for word in ("--request-topic plant/ask", "--answer-topic plant/say"):
            assert word in second, "its programs ask and answer there"
        assert set(
            json.loads(second)["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"][
                "aws.greengrass.ipc.pubsub"
            ]
        ) == {f"{theirs}:pubsub:1", f"{theirs}:pubsub:2"}, "unique on a device"


def test_a_container_of_another_stack_is_not_taken_for_ours_by_a_dot_that_matches_anything(
    shell: Shell,
) -> None:
    docker_run(shell, SERVICE)
    _, _, wanted = shell.asked[0]
    pattern = wanted.removeprefix("name=")
    assert re.search(pattern, f"/{SERVICE}.press-1")
    for stranger in ("com-ml.xgboost.press-1", "com.ml.xgboost-press-1", "comxml.xgboost.press-1"):
        assert not re.search(pattern, f"/{stranger}"), "waiting for it to go would never end"


@pytest.mark.parametrize(
    ("name", "hears", "speaks"),
    [
        (SERVICE, REQUEST_TOPIC, ANSWER_TOPIC),
        (CONSUMER, ANSWER_TOPIC, REQUEST_TOPIC),
        (CHECK, ANSWER_TOPIC, REQUEST_TOPIC),
    ],
)
def test_rights_are_for_the_topics_that_the_programs_use(
    name: str, hears: str, speaks: str
) -> None:
    access = recipe_of(name)["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]
    assert set(access) == {"aws.greengrass.ipc.pubsub"}, "no way to the cloud, no other service"
    policies = access["aws.greengrass.ipc.pubsub"]
    assert all(policy.startswith(f"{name}:") for policy in policies), (
        "a policy's name is unique on the device"
    )
    granted = {
        (operation, resource)
        for policy in policies.values()
        for operation in policy["operations"]
        for resource in policy["resources"]
    }
    assert granted == {
        ("aws.greengrass#SubscribeToTopic", hears),
        ("aws.greengrass#PublishToTopic", speaks),
    }
