"""Rules for how a container is run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from recipes.document import Recipe, Step
from recipes.rules.register import (
    BOTH,
    ERROR,
    GUIDE,
    INFO,
    JAVA,
    LITE,
    NUCLEUS,
    TRIED,
    WARNING,
    Found,
    rule,
)
from recipes.shell import DockerRun

_SECRETS = (
    *("SVCUID", "AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
_KEY = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAWS_SECRET_ACCESS_KEY=[A-Za-z0-9/+]{20}")
# Long options of docker that another program is unlikely to have.
_DOCKERS_OWN = frozenset(
    {
        *("--network", "--net", "--privileged", "--volume", "--mount", "--publish", "--rm"),
        *("--restart", "--gpus", "--cap-add", "--cap-drop", "--security-opt", "--read-only"),
        *("--pids-limit", "--entrypoint", "--ipc", "--shm-size", "--tmpfs", "--env-file"),
    }
)


@rule("docker-option-late", ERROR, BOTH, "docs.docker.com/reference/cli/docker/container/run")
def _docker_option_late(recipe: Recipe) -> Found:
    """an option after the image is an argument to the program in it, and docker ignores it."""
    for step, run in _containers(recipe):
        for word in run.arguments:
            if word.partition("=")[0] in _DOCKERS_OWN:
                yield step.where, f"move {word} before {run.image}"


@rule("docker-secret-in-argv", WARNING, BOTH, f"{GUIDE}, run a Docker container")
def _docker_secret_in_argv(recipe: Recipe) -> Found:
    """every process of the device can read a secret in a command line."""
    for step, run in _containers(recipe):
        for value in run.values("--env"):
            name, given, _ = value.partition("=")
            if given and name in _SECRETS:
                yield step.where, f"write -e {name}: docker takes the value from its environment"


@rule("docker-network-host", WARNING, BOTH, f"{GUIDE}, run a Docker container")
def _docker_network_host(recipe: Recipe) -> Found:
    """only the credentials' address needs the device's network, as IPC is a mounted socket."""
    for step, run in _containers(recipe):
        host = "host" in run.values("--network", "--net")
        if host and "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in " ".join(run.values("--env")):
            yield step.where, "drop it, publish single ports, or write --network none"


@rule("docker-detached", WARNING, BOTH, f"{TRIED}; {NUCLEUS} GenericExternalService.java")
def _docker_detached(recipe: Recipe) -> Found:
    """the nucleus watches the docker client, so it neither sees a crash nor stops the container."""
    for step, run in _containers(recipe):
        if run.has("--detach"):
            yield step.where, "run it in the foreground: exec docker run … in run"


@rule("docker-rm", WARNING, JAVA, f"{NUCLEUS} 2.10, docker clean-up")
def _docker_rm(recipe: Recipe) -> Found:
    """a stopped container holds its image, so the clean-up can't remove the image."""
    for step, run in _containers(recipe):
        if not run.has("--rm"):
            yield step.where, "add --rm before the image"


@rule("docker-name", WARNING, BOTH, f"{NUCLEUS} UnixExec.java, #1685, #1724")
def _docker_name(recipe: Recipe) -> Found:
    """a container that outlives its client can't be found, and runs beside the next container."""
    for step, run in _containers(recipe):
        if not run.has("--name"):
            yield step.where, "add --name NAME, and docker rm -f NAME before it"


@rule("docker-log", WARNING, BOTH, "docs.docker.com/engine/logging; moby #40207")
def _docker_log(recipe: Recipe) -> Found:
    """docker's own log of a container grows without limit, unlike the nucleus' rotated log."""
    for step, run in _containers(recipe):
        driver = (run.values("--log-driver") or ["json-file"])[-1]
        bounded = any(one.startswith("max-size=") for one in run.values("--log-opt"))
        if driver == "json-file" and not bounded:
            yield step.where, "add --log-driver none: docker run in the foreground prints all of it"


@rule("docker-tty", ERROR, BOTH, "aws-greengrass-nucleus #970; tried on Docker 20.10")
def _docker_tty(recipe: Recipe) -> Found:
    """a component has no terminal: with -i and -t, docker ends before it starts the container."""
    for step, run in _containers(recipe):
        if run.has("--tty"):
            yield step.where, "drop -t, and -i with it"


@rule("docker-init", INFO, BOTH, f"{NUCLEUS} UnixExec.java: SIGKILL after 5 s")
def _docker_init(recipe: Recipe) -> Found:
    """process 1 ignores SIGTERM unless its program handles it."""
    for step, run in _containers(recipe):
        if not run.has("--init"):
            yield step.where, "add --init before the image, unless its program handles SIGTERM"


@rule("socket-path", ERROR, LITE, f"{TRIED} (lite-ipc-socket, java-ipc-socket)")
def _socket_path(recipe: Recipe) -> Found:
    """the IPC socket has another name on Lite."""
    for step in recipe.steps:
        if "/ipc.socket" in step.script:
            variable = "$AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
            yield step.where, f"write {variable} for its path"


@rule("secret-in-recipe", ERROR, BOTH, "greengrassv2 GetComponent answers with the recipe")
def _secret_in_recipe(recipe: Recipe) -> Found:
    """whoever may read the component reads its credentials."""
    for where, text in recipe.texts():
        if _KEY.search(text):
            yield where, "remove and revoke the key: components get theirs by token exchange"


def _containers(recipe: Recipe) -> Iterator[tuple[Step, DockerRun]]:
    return ((step, run) for step in recipe.steps for run in step.docker_runs)
