"""Reads and checks the stack's config (`pulumi.Config`) before the first resource exists."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pulumi

from infra.errors import Told
from infra.name_patterns import (
    prefix_trouble,
    role_trouble,
    stack_trouble,
    target_trouble,
    topic_trouble,
)
from infra.names import ANSWER_TOPIC, ARCHITECTURES, ENGINES, REQUEST_TOPIC, SEVERITIES
from infra.printable import printable

MIN_MEMORY_MIB = 6  # Docker's own: https://docs.docker.com/engine/containers/resource_constraints/
TREES = ("all", "best")  # The values of the key `trees`.

# The keys that make a release, with Pulumi.yaml's defaults. A follower may set none of them.
OF_A_RELEASE: Mapping[str, object] = {
    "engine": ENGINES[0],
    "architectures": ("amd64",),
    "model": Path("edge/models/wine-quality.json"),
    "samples": Path("edge/consumer/samples.json"),
    "predictions": None,
    "trees": "",
    "major": 1,
    "request-topic": REQUEST_TOPIC,
    "answer-topic": ANSWER_TOPIC,
    "check-timeout": 110,
    "memory": 96,
    "consumer-interval": 5,
    "build-image": "",
    "runtime-image": "",
}


class Misconfigured(Told, pulumi.RunError):
    """A config value that can't be used; the message says what was found and what to type."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The config of a stack. Pulumi.yaml describes each key."""

    thing: str
    thing_group: str
    component_prefix: str
    request_topic: str
    answer_topic: str
    release_from: str
    release: str
    engine: str
    device_role: str
    architectures: tuple[str, ...]
    model: Path
    samples: Path
    predictions: Path | None
    trees: str
    major: int
    keep_components: bool
    override: str
    keep_releases: int
    rollout_timeout: int
    quorum: int
    devices_per_minute: int
    abort_percent: int
    device_timeout: int
    check_timeout: int
    memory: int
    consumer_interval: int
    build_image: str
    runtime_image: str
    scan_severity: str

    @classmethod
    def load(cls, config: pulumi.Config) -> Settings:
        """Read and check the stack's config; raises Misconfigured."""
        _refuse_unknown_keys(config.name)
        stack = pulumi.get_stack()
        if trouble := stack_trouble(stack):
            raise Misconfigured(trouble, "", "pulumi stack init NAME")
        read = _Reader(config)
        if read.text("release-from") == stack:
            raise Misconfigured(
                "release-from names this very stack.",
                "A stack deploys its own release, or that of another stack.",
                "pulumi config rm release-from",
            )
        return cls(
            thing=read.text("thing"),
            thing_group=read.text("thing-group"),
            component_prefix=read.text("component-prefix"),
            request_topic=read.text("request-topic"),
            answer_topic=read.text("answer-topic"),
            release_from=read.text("release-from"),
            release=read.text("release"),
            engine=read.text("engine"),
            device_role=read.text("device-role"),
            architectures=read.words("architectures"),
            model=Path(read.text("model")),
            samples=Path(read.text("samples")),
            predictions=Path(text) if (text := read.text("predictions")) else None,
            trees=read.text("trees"),
            major=read.number("major"),
            keep_components=read.truth("keep-components"),
            override=read.text("override"),
            keep_releases=read.number("keep-releases"),
            rollout_timeout=read.number("rollout-timeout"),
            quorum=read.number("quorum"),
            devices_per_minute=read.number("devices-per-minute"),
            abort_percent=read.number("abort-percent"),
            device_timeout=read.number("device-timeout"),
            check_timeout=read.number("check-timeout"),
            memory=read.number("memory"),
            consumer_interval=read.number("consumer-interval"),
            build_image=read.text("build-image"),
            runtime_image=read.text("runtime-image"),
            scan_severity=read.text("scan-severity"),
        )

    def __post_init__(self) -> None:
        if self.thing and self.thing_group:
            raise Misconfigured(
                f"both thing ('{self.thing}') and thing-group ('{self.thing_group}') are set.",
                "A stack has one target. Remove the other key:",
                "pulumi config rm thing",
                "pulumi config rm thing-group",
            )
        for key, name in (("thing", self.thing), ("thing-group", self.thing_group)):
            if name and (trouble := target_trouble(name)):
                raise Misconfigured(f"{key}: {trouble}", "", f"pulumi config set {key} NAME")
        if self.release_from and (trouble := stack_trouble(self.release_from)):
            raise Misconfigured(
                f"release-from: {trouble}", "", "pulumi config set release-from STACK"
            )
        if trouble := role_trouble(self.device_role):
            raise Misconfigured(f"device-role: {trouble}", "", "pulumi config set device-role NAME")
        self._check_names_on_the_device()
        if self.engine not in ENGINES:
            raise Misconfigured(
                f"engine is '{self.engine}', neither {' nor '.join(ENGINES)}.",
                "",
                f"pulumi config set engine {ENGINES[0]}",
            )
        if self.scan_severity not in SEVERITIES:
            raise Misconfigured(
                f"scan-severity is '{self.scan_severity}', not one of {', '.join(SEVERITIES)}.",
                "",
                "pulumi config set scan-severity high",
            )
        self._check_what_the_author_says()
        self._check_architectures()
        self._check_range("major", self.major, 0, 999_999)
        self._check_range("keep-releases", self.keep_releases, 1, 1000)
        self._check_range("rollout-timeout", self.rollout_timeout, 10, 86_400)
        self._check_range("quorum", self.quorum, 1, 100)
        self._check_range("devices-per-minute", self.devices_per_minute, 0, 1000)
        self._check_range("abort-percent", self.abort_percent, 0, 100)
        self._check_range("device-timeout", self.device_timeout, 0, 10_080)
        if self.thing:
            self._refuse_for_a_thing("quorum", self.quorum, 100)
            self._refuse_for_a_thing("devices-per-minute", self.devices_per_minute, 0)
            self._refuse_for_a_thing("abort-percent", self.abort_percent, 0)
            self._refuse_for_a_thing("device-timeout", self.device_timeout, 0)
        self._check_range("check-timeout", self.check_timeout, 1, 3600)
        self._check_range("memory", self.memory, MIN_MEMORY_MIB, 1 << 20)
        self._check_range("consumer-interval", self.consumer_interval, 1, 86_400)
        if self.release_from:
            self._refuse_for_a_follower()
        else:
            for key, path in (("model", self.model), ("samples", self.samples)):
                _require_file(key, path)

    def _check_names_on_the_device(self) -> None:
        if trouble := prefix_trouble(self.component_prefix):
            raise Misconfigured(
                f"component-prefix: {trouble}",
                "",
                "pulumi config set component-prefix com.example",
            )
        for key, topic in (
            ("request-topic", self.request_topic),
            ("answer-topic", self.answer_topic),
        ):
            if trouble := topic_trouble(topic):
                raise Misconfigured(f"{key}: {trouble}", "", f"pulumi config set {key} TOPIC")
        if self.request_topic == self.answer_topic:
            raise Misconfigured(
                f"request-topic and answer-topic are both {self.request_topic}.",
                "The service would hear its own answers.",
                "pulumi config set answer-topic TOPIC",
            )

    def _check_what_the_author_says(self) -> None:
        if self.trees not in ("", *TREES):
            raise Misconfigured(
                f"trees is '{self.trees}', neither {' nor '.join(TREES)}.",
                "It is for a model that was stopped early. Set it, or remove it for other models:",
                "pulumi config set trees best",
                "pulumi config rm trees",
            )
        if self.predictions and not self.release_from:
            _require_file("predictions", self.predictions)

    def _check_architectures(self) -> None:
        if strange := sorted(set(self.architectures) - set(ARCHITECTURES)):
            raise Misconfigured(
                f"architectures names {', '.join(strange)}.",
                "Greengrass knows amd64 and aarch64, and neither x86_64 nor arm64.",
                "pulumi config set --path 'architectures[0]' aarch64",
            )
        for at, name in enumerate(self.architectures):
            if name in self.architectures[:at]:
                raise Misconfigured(
                    f"architectures names {name} twice.",
                    "Each architecture has one image.",
                    f"pulumi config rm --path 'architectures[{at}]'",
                )
        if not self.architectures:
            raise Misconfigured(
                "architectures is empty.", "", "pulumi config set --path 'architectures[0]' amd64"
            )

    @staticmethod
    def _check_range(key: str, value: int, least: int, most: int) -> None:
        if not least <= value <= most:
            raise Misconfigured(
                f"{key} is {value}, not between {least} and {most}.",
                "",
                f"pulumi config set {key} NUMBER",
            )

    def _refuse_for_a_follower(self) -> None:
        for key, default in OF_A_RELEASE.items():
            value = getattr(self, key.replace("-", "_"))
            if value != default:
                raise Misconfigured(
                    f"{key} is set, but has no effect here.",
                    f"This stack deploys what stack {self.release_from} publishes. Remove the key"
                    " here, and set it there to change the release:",
                    f"pulumi config rm {key}",
                    f"pulumi config set --stack {self.release_from} {key} VALUE",
                )

    @staticmethod
    def _refuse_for_a_thing(key: str, value: int, default: int) -> None:
        """A thing's deployment goes through its shadow: there is no job to limit, and no quorum."""
        if value != default:
            raise Misconfigured(
                f"{key} is {value}, but has no effect here.",
                "This stack deploys to a single thing; the key is for a thing-group.",
                f"pulumi config rm {key}",
            )


KEYS = frozenset(field.name.replace("_", "-") for field in fields(Settings))


class _Reader:
    """Reads typed values. Its errors say what to type."""

    def __init__(self, config: pulumi.Config) -> None:
        self._config = config

    def text(self, key: str) -> str:
        return (self._config.get(key) or "").strip()

    def number(self, key: str) -> int:
        value = self.text(key)
        try:
            return int(value)
        except ValueError as error:
            raise Misconfigured(
                f"{key} is '{value}', not a whole number.", "", f"pulumi config set {key} NUMBER"
            ) from error

    def truth(self, key: str) -> bool:
        value = self.text(key)
        if value not in ("true", "false"):
            raise Misconfigured(
                f"{key} is '{value}', neither true nor false.", "", f"pulumi config set {key} true"
            )
        return value == "true"

    def words(self, key: str) -> tuple[str, ...]:
        value = self.text(key)
        try:
            words = json.loads(value)
        except ValueError:
            words = None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Misconfigured(
                f"{key} is '{value}', not a list.", "", f"pulumi config set --path '{key}[0]' VALUE"
            )
        return tuple(words)


def _require_file(key: str, path: Path) -> None:
    """Raise Misconfigured for a path that is no file, is too long, or lies in a closed folder."""
    try:
        why = "" if path.is_file() else f"is not a file (looked in {Path.cwd()})"
    except OSError as error:
        why = f"can't be read: {error.strerror}"
    if why:
        default = OF_A_RELEASE[key]
        raise Misconfigured(
            f"{key} '{printable(str(path))}' {why}.",
            f"Name another file, or remove the key{f' for {default}' if default else ''}:",
            f"pulumi config set {key} PATH",
            f"pulumi config rm {key}",
        )


def _refuse_unknown_keys(namespace: str) -> None:
    prefix = f"{namespace}:"
    given = {
        key.removeprefix(prefix)
        for key in pulumi.runtime.config.CONFIG.get()
        if key.startswith(prefix)
    }
    for key in sorted(given - KEYS):
        near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.0)[0]
        raise Misconfigured(
            f"config key '{key}' is unknown.",
            f"The nearest is '{near}':",
            f"pulumi config rm {key} && pulumi config set {near} VALUE",
        )
