"""The three Greengrass recipes, as functions from values to dicts, without Pulumi.

All values are literal, because each change is a new version anyway. So a reader of the recipe sees
what the device will run. The scripts are in scripts.py.

    com.ml.xgboost   the service           run      answers requests
    com.ml.consumer  a client              run      asks at an interval, logs answers and silence
    com.ml.check     the release's check   startup  succeeds only on this release's golden answers

They don't depend on each other, because on Nucleus Lite a component stays down after its HARD
dependency crashes. AWS's components are SOFT dependencies. Consumer and check work without a
service.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.names import ANSWER_TOPIC, DEFAULT_NAMES, ENGINES, REQUEST_TOPIC, Names, role
from infra.publish import scripts
from recipes import rules
from recipes.findings import Severity

MODEL = "model.bz2"
FILES = {  # A component's artifacts beside the image, by the last part of its name.
    role(DEFAULT_NAMES.service): (MODEL,),
    role(DEFAULT_NAMES.consumer): ("consumer.py", "samples.json"),
    role(DEFAULT_NAMES.check): ("samples.json", "golden.json"),
}

_SUBSCRIBE, _PUBLISH = "aws.greengrass#SubscribeToTopic", "aws.greengrass#PublishToTopic"


@dataclass(frozen=True, kw_only=True)
class Files:
    """The `s3://` URIs of a release's files, by file name."""

    uris: Mapping[str, str]

    def artifacts(self, *names: str) -> list[dict[str, Any]]:
        # The container's uid isn't the owner's, so every user may read.
        return [{"Uri": self.uris[name], "Permission": {"Read": "ALL"}} for name in names]


@dataclass(frozen=True, kw_only=True)
class Content:
    """The recipes' content. `images` maps an architecture to `repository@digest`."""

    images: Mapping[str, str]
    files: Files
    memory: int
    check_timeout: int
    consumer_interval: int
    engine: str = ENGINES[0]
    names: Names = DEFAULT_NAMES
    request_topic: str = REQUEST_TOPIC
    answer_topic: str = ANSWER_TOPIC

    @property
    def topics(self) -> str:
        """The topics as a program's arguments."""
        return f"--request-topic {self.request_topic} --answer-topic {self.answer_topic}"


def service(version: str, content: Content) -> dict[str, Any]:
    """The service's recipe: it answers requests."""
    name = content.names.service
    command = f"serve --model /artifacts/{MODEL}"
    if content.engine != ENGINES[0]:
        command += f" --engine {content.engine}"
    command += f" {content.topics}"
    return _recipe(
        name,
        version,
        content,
        description="Answers requests with an XGBoost model",
        listens=content.request_topic,
        speaks=content.answer_topic,
        lifecycle=lambda image: _runs(name, content, image, command),
    )


def consumer(version: str, content: Content) -> dict[str, Any]:
    """The consumer's recipe: it asks, as an application on the device would."""
    command = (
        "/artifacts/consumer.py --samples /artifacts/samples.json"
        f" --interval {content.consumer_interval} {content.topics}"
    )
    name = content.names.consumer
    return _recipe(
        name,
        version,
        content,
        description="Asks the model at an interval and logs what came back",
        listens=content.answer_topic,
        speaks=content.request_topic,
        lifecycle=lambda image: _runs(name, content, image, command, entrypoint="/usr/bin/python3"),
    )


def check(version: str, content: Content) -> dict[str, Any]:
    """The check's recipe: its startup succeeds only on golden answers. It runs at every boot."""
    command = (
        "check --samples /artifacts/samples.json --golden /artifacts/golden.json"
        f" --timeout {content.check_timeout} {content.topics}"
    )
    name = content.names.check
    return _recipe(
        name,
        version,
        content,
        description="Succeeds only when this release's golden answers come back, bit for bit",
        listens=content.answer_topic,
        speaks=content.request_topic,
        lifecycle=lambda image: {
            "startup": {
                "Script": scripts.succeeds_once(
                    _container(name), _docker_run(name, content, image, command)
                ),
                "Timeout": scripts.startup_seconds(content.check_timeout),
            },
            **_leave(name),
        },
    )


def recipes(names: Names) -> dict[str, Callable[[str, Content], dict[str, Any]]]:
    """For each component, the function that makes its recipe from a version and the content."""
    return {names.service: service, names.consumer: consumer, names.check: check}


def serialise(recipe: Mapping[str, Any]) -> str:
    """The recipe as JSON, the same bytes for the same recipe.

    Raises ValueError for a recipe that a runtime would not run as intended.
    """
    text = json.dumps(recipe, separators=(",", ":"))
    broken = [
        finding.line
        for finding in rules.findings(recipe, size=len(text.encode()))
        if finding.rule.severity is Severity.ERROR
    ]
    if broken:
        raise ValueError(f"the recipe of {recipe['ComponentName']}: {'; '.join(broken)}")
    return text


def _recipe(
    name: str,
    version: str,
    content: Content,
    *,
    description: str,
    listens: str,
    speaks: str,
    lifecycle: Any,
) -> dict[str, Any]:
    rights = {
        f"{name}:pubsub:1": {
            "policyDescription": f"hears {listens}",
            "operations": [_SUBSCRIBE],
            "resources": [listens],
        },
        f"{name}:pubsub:2": {
            "policyDescription": f"says on {speaks}",
            "operations": [_PUBLISH],
            "resources": [speaks],
        },
    }
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": name,
        "ComponentVersion": version,
        "ComponentDescription": description,
        "ComponentPublisher": "edge-inference",
        "ComponentConfiguration": {
            "DefaultConfiguration": {"accessControl": {"aws.greengrass.ipc.pubsub": rights}}
        },
        # The Java nucleus refuses docker artifacts without the first, and private ECR's without the
        # second. They are SOFT, because on Nucleus Lite a HARD dependent stays down when either
        # ends (records lite-ml-dam-run-ends, lite-ml-soft).
        "ComponentDependencies": {
            f"aws.greengrass.{one}": {"VersionRequirement": "^2.0.0", "DependencyType": "SOFT"}
            for one in ("DockerApplicationManager", "TokenExchangeService")
        },
        "Manifests": [
            {
                # Lite skips a manifest without runtime. Both nucleuses accept "*".
                "Platform": {"os": "linux", "architecture": architecture, "runtime": "*"},
                "Lifecycle": lifecycle(image),
                "Artifacts": [
                    {"Uri": f"docker:{image}"},
                    *content.files.artifacts(*FILES[role(name)]),
                ],
            }
            for architecture, image in sorted(content.images.items())
        ],
    }


def _runs(
    name: str,
    content: Content,
    image: str,
    command: str,
    entrypoint: str | None = None,
) -> dict[str, Any]:
    """A lifecycle whose container keeps running. Both runtimes stop its script by SIGTERM.

    If the script stays, SIGKILL follows, on a Java nucleus after 5 s.
    """
    run = _docker_run(name, content, image, command, entrypoint)
    return {"run": {"Script": scripts.stays(_container(name), run)}, **_leave(name)}


def _container(name: str) -> str:
    """A container's name. It has the thing's name, because simulated devices share one engine."""
    return f"{name}.$AWS_IOT_THING_NAME"


def _leave(name: str) -> dict[str, Any]:
    """The step that removes a left container. Nucleus Lite ignores `uninstall`."""
    return {"uninstall": {"Script": scripts.removes(_container(name))}}


def _docker_run(
    name: str,
    content: Content,
    image: str,
    command: str,
    entrypoint: str | None = None,
) -> str:
    """No network, no rights and no writable file. `-e NAME` keeps the token out of argv.

    The nucleus keeps the container's output and rotates it. Docker's own log would have no limit.
    There is no `--init`, because each program handles SIGTERM itself and has no children. In about
    the first 20 ms nothing handles it, so a stop then waits for SIGKILL.
    """
    socket = "$AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
    mounts = [f'-v "{{artifacts:path}}/{file}:/artifacts/{file}:ro"' for file in FILES[role(name)]]
    options = [
        "--rm --log-driver none",
        '--name "$c"',
        "--network none --read-only --cap-drop ALL --security-opt no-new-privileges",
        "--user 65532:65532",
        f"--memory {content.memory}m --pids-limit 64",
        f'-v "{socket}:{socket}"',
        *mounts,
        "-e SVCUID -e AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT -e AWS_IOT_THING_NAME",
        *([f"--entrypoint {entrypoint}"] if entrypoint else []),
    ]
    return f"docker run {' '.join(options)} {image} {command}"
