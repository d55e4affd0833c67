"""Reads a component's log, from wherever it can be read.

A device writes its logs to its own disk. The component aws.greengrass.LogManager uploads them to
CloudWatch. Without it, the command in the variable `FLEET_LOGS` reads the log of a device and
component. Without both, the error says where the log lies.

    export FLEET_LOGS='ssh {device} sudo tail -n {lines} /greengrass/v2/logs/{component}.log'
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fleet.observe import Device
from infra.account.clients import Clients
from infra.account.logs import DAYS, log_group, on_the_device, uploaded
from infra.errors import Told

COMMAND = "FLEET_LOGS"
EXAMPLE = "ssh {device} sudo tail -n {lines} /greengrass/v2/logs/{component}.log"
LINES = 200
LOG_MANAGER = "aws.greengrass.LogManager"
_JSON = json.JSONDecoder()
_PATIENCE_SECONDS = 20
UNANSWERED = "no answer in its log"
WAITING = "no answer: its script waits for docker (make logs DEVICE=… says since when)"
_WAITS = "waiting for docker"  # The message of infra/publish/scripts.py begins so.


class NoLog(Told):
    """The log can't be read from here. The message says where it is and how to get it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The last answer that a stack's consumer logged on a device."""

    at: datetime
    rows: int
    milliseconds: float
    model: str


def tail(clients: Clients, device: Device, component: str) -> list[str]:
    """The last LINES of the log, the oldest first. Raises NoLog."""
    if command := os.environ.get(COMMAND):
        return _run(command, device, component)
    if any(one.name == LOG_MANAGER for one in device.components):
        return _uploaded(clients, device.name, component)
    raise NoLog(
        f"{device.name} doesn't upload its logs.",
        f"{LOG_MANAGER} isn't among its components. Read the log on the device, or say how to reach"
        " it from here:",
        on_the_device(device.runtime, component),
        f"export {COMMAND}='{EXAMPLE}'",
    )


def last_answer(lines: Iterable[str]) -> Answer | None:
    """The last answer in the consumer's log."""
    found = None
    for line in lines:
        event = logged(line)
        if event.get("event") == "answer":
            found = event
    if found is None:
        return None
    return Answer(
        at=datetime.fromisoformat(found["time"]),
        rows=found["rows"],
        milliseconds=found["ms"],
        model=found["model"],
    )


def waits(lines: Iterable[str]) -> bool:
    """Whether the script's line that it waits is newer than all lines of its container."""
    waiting = False
    for line in lines:
        waiting = _WAITS in line or (waiting and "event" not in logged(line))
    return waiting


def answered(clients: Clients, device: Device, consumer: str) -> Answer | str:
    """The last answer to this consumer on the device, or why it is unknown.

    Greengrass calls a component RUNNING while its script waits for the engine. Only its log says
    so.
    """
    if not any(one.name == consumer for one in device.components):
        return f"{consumer} isn't there"
    try:
        lines = tail(clients, device, consumer)
        return WAITING if waits(lines) else last_answer(lines) or UNANSWERED
    except NoLog:
        return "its log can't be read from here (make logs DEVICE=… says why)"
    except (ClientError, BotoCoreError) as error:  # The caller has no rights, or is throttled.
        return f"CloudWatch doesn't tell: {error}"


def logged(line: str) -> dict[str, Any]:
    """The JSON object in a log line, or nothing.

    The Java nucleus appends text: `. {scriptName=…, currentState=RUNNING}`.
    """
    try:
        event: dict[str, Any] = _JSON.raw_decode(line, line.index("{"))[0]
    except ValueError:
        return {}
    return event


def _run(command: str, device: Device, component: str) -> list[str]:
    try:
        words = [
            word.format(device=device.name, component=component, lines=LINES)
            for word in shlex.split(command)
        ]
    except (LookupError, ValueError, AttributeError) as error:
        raise NoLog(
            f"{COMMAND} is {command!r}, no command with {{device}}, {{component}} and {{lines}}.",
            f"{error!r}. For example:",
            f"export {COMMAND}='{EXAMPLE}'",
        ) from error
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",  # A log may have any bytes.
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoLog(f"{COMMAND} fails: {error}", "It runs:", shlex.join(words)) from error
    if done.returncode:
        has = [one.name for one in device.components]
        unknown = f"{device.name} has no component {component}; it has {', '.join(has)}. "
        raise NoLog(
            f"{COMMAND} fails: {done.stderr.strip()}",
            f"{'' if component in has else unknown}It runs:",
            shlex.join(words),
        )
    return done.stdout.splitlines()


def _uploaded(clients: Clients, thing: str, component: str) -> list[str]:
    if found := uploaded(clients, thing, component, most=LINES):
        return found
    raise NoLog(
        f"{LOG_MANAGER} on {thing} has uploaded nothing of {component} in the last {DAYS} days"
        f" (log group {log_group(clients.region, component)}).",
        "Is the component in its componentLogsConfigurationMap, and may the device's role write"
        " logs? The streams that are there:",
        f"aws logs describe-log-streams --region {clients.region} --log-group-name"
        f" {log_group(clients.region, component)}",
    )
