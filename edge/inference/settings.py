"""Reads arguments and environment, and defines the exit codes.

A component that exits with another code than 0 is ERRORED and restarted. After three times in an
hour it is BROKEN, and its rollout fails. So a container must not retry for ever.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import NoReturn

from .protocol import ANSWER_TOPIC, REQUEST_TOPIC


class Exit(IntEnum):
    """The exit codes of serve, check and consumer; from 64 on as in BSD's sysexits.h."""

    DONE = 0  # SIGTERM ended it, or the check passed.
    FAILED = 1  # The check didn't pass.
    USAGE = 64
    UNUSABLE_FILE = 65  # The model, the samples or the golden answers.
    UNREACHABLE = 69  # Greengrass IPC was never reached, or lost for good.
    INTERNAL = 70  # A bug, with a traceback in the log.


class Engine(StrEnum):
    """The evaluator. The config key `engine` has the same values."""

    EVALUATOR = "evaluator"  # Our own, for models that it can answer bit for bit.
    XGBOOST = "xgboost"  # XGBoost itself, in a larger image, for other models.


class Unreachable(Exception):
    """The nucleus can't be reached, or no longer."""


@dataclass(frozen=True, kw_only=True)
class Nucleus:
    """Greengrass's socket, and the token of this component."""

    socket: str
    token: str
    thing: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Nucleus:
        names = {
            "socket": "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT",
            "token": "SVCUID",
            "thing": "AWS_IOT_THING_NAME",
        }
        missing = [name for name in names.values() if not environment.get(name)]
        if missing:
            raise Unreachable(
                f"{' and '.join(missing)} not set. Greengrass sets them for its components: pass"
                " them into the container with -e NAME, and mount the socket at its own path"
            )
        return cls(**{field: environment[name] for field, name in names.items()})


@dataclass(frozen=True, kw_only=True)
class Channel:
    """The topics of a service. Each service on a device has its own."""

    requests: str
    answers: str


class Parser(argparse.ArgumentParser):
    """argparse with our exit code, because its own 2 doesn't explain itself in the nucleus' log."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n")


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Answer requests with this model until SIGTERM."""

    model: Path
    engine: Engine
    channel: Channel


@dataclass(frozen=True, kw_only=True)
class Check:
    """Send the samples until the golden answers come, or the time is over."""

    samples: Path
    golden: Path
    timeout: float
    channel: Channel


def parse(arguments: Sequence[str]) -> Serve | Check:
    """The given command. Exits with Exit.USAGE for wrong usage."""
    parser = Parser(prog="inference", description="XGBoost on a Greengrass core device")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="answer requests until SIGTERM")
    serve.add_argument("--model", type=Path, required=True, metavar="PATH")
    serve.add_argument("--engine", type=Engine, choices=list(Engine), default=Engine.EVALUATOR)
    check = commands.add_parser("check", help="succeed only on the golden answers")
    check.add_argument("--samples", type=Path, required=True, metavar="PATH")
    check.add_argument("--golden", type=Path, required=True, metavar="PATH")
    check.add_argument("--timeout", type=seconds, required=True, metavar="SECONDS")
    for command in (serve, check):
        add_topics(command)
    options = parser.parse_args(arguments)
    values = {**vars(options), "channel": channel(options)}
    del values["request_topic"], values["answer_topic"]
    return Serve(**values) if values.pop("command") == "serve" else Check(**values)


def add_topics(parser: argparse.ArgumentParser) -> None:
    """The options that `channel` reads."""
    parser.add_argument("--request-topic", default=REQUEST_TOPIC, metavar="TOPIC")
    parser.add_argument("--answer-topic", default=ANSWER_TOPIC, metavar="TOPIC")


def channel(options: argparse.Namespace) -> Channel:
    return Channel(requests=options.request_topic, answers=options.answer_topic)


def seconds(text: str) -> float:
    """A positive, finite number of seconds. argparse makes the ValueError a usage error."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value
