"""Checks whether the target's devices can run the release."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.account.greengrass import LITE
from infra.account.target import Target
from infra.preflight.release_needs import Wanted
from infra.preflight.unread import NOT_READABLE
from infra.settings import Settings
from recipes.findings import Bites, Finding, Rule, Severity

_OLDEST_GOOD = {LITE: (2, 3), "aws_nucleus_classic": (2, 1)}
_SYNONYMS = {"x86_64": "amd64", "arm64": "aarch64"}

DEVICE_ARCHITECTURE = Rule(
    name="device-architecture",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="no manifest of the release fits this device",
    source="aws-greengrass-nucleus, manifest selection",
)
LITE_THING = Rule(
    name="lite-thing",
    severity=Severity.ERROR,
    bites=Bites.LITE,
    reason="a deployment to a thing never reaches Nucleus Lite, which listens to thing groups only",
    source="aws-greengrass-lite docs/spec/executable/ggdeploymentd.md",
)
LITE_SYSTEMD = Rule(
    name="lite-systemd",
    severity=Severity.INFO,
    bites=Bites.LITE,
    reason="Lite ends each startup script with systemd-notify --stopping, which needs systemd"
    " 253. On an older one (Debian 12 has 252) the check fails. No API call tells the version",
    source="seen on Nucleus Lite 2.6.0, record lite-startup-systemd-252",
)
NUCLEUS_VERSION = Rule(
    name="nucleus-version",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="images as artifacts need the Java nucleus 2.1, and `runtime` in a manifest needs"
    " Lite 2.3",
    source="release notes of the Docker application manager and of Nucleus Lite",
)
RULES = (DEVICE_ARCHITECTURE, LITE_THING, LITE_SYSTEMD, NUCLEUS_VERSION)


def findings(settings: Settings, target: Target, wanted: Wanted) -> Iterator[Finding]:
    if lite := sorted(one.thing for one in target.cores if one.runtime == LITE):
        yield Finding(
            rule=LITE_SYSTEMD,
            where=", ".join(lite),
            fix="compare with the device's, which should be 253 or newer:",
            commands=("systemctl --version",),
        )
    for device in target.cores:
        architecture = _SYNONYMS.get(device.architecture, device.architecture)
        if not architecture:
            yield Finding(
                rule=NOT_READABLE,
                where=f"{device.thing}'s architecture",
                fix=f"compare the device's with the release's, {_words(wanted)}:",
                commands=("uname -m",),
            )
        elif architecture not in wanted.architectures:
            yield Finding(
                rule=DEVICE_ARCHITECTURE,
                where=f"{device.thing} ({architecture}; the release: {_words(wanted)})",
                commands=_another_architecture(settings, architecture),
            )
        if device.runtime == LITE and settings.thing:
            yield Finding(
                rule=LITE_THING,
                where=device.thing,
                commands=(
                    f"aws iot add-thing-to-thing-group --thing-name {device.thing}"
                    f" --thing-group-name GROUP --region {target.arn.split(':')[3]}",
                    "pulumi config rm thing",
                    "pulumi config set thing-group GROUP",
                ),
            )
        least = _OLDEST_GOOD.get(device.runtime or "aws_nucleus_classic", (0, 0))
        version = re.match(r"(\d+)\.(\d+)", device.version)
        if version and (int(version[1]), int(version[2])) < least:
            yield Finding(
                rule=NUCLEUS_VERSION,
                where=f"{device.thing} ({device.version})",
                fix=f"update it to {least[0]}.{least[1]} or newer",
            )


def _words(wanted: Wanted) -> str:
    return ", ".join(wanted.architectures)


def _another_architecture(settings: Settings, architecture: str) -> tuple[str, ...]:
    at = len(settings.architectures)
    stack = f" --stack {settings.release_from}" if settings.release_from else ""
    set_ = f"pulumi config set{stack} --path 'architectures[{at}]' {architecture}"
    return (set_, f"pulumi up{stack}") if stack else (set_,)
