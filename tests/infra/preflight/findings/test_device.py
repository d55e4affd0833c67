"""Devices that can't run a release are named before it is made."""

from __future__ import annotations

import pytest

from infra.account.target import Target
from infra.preflight import preflight
from infra.preflight.device import DEVICE_ARCHITECTURE, LITE_SYSTEMD, LITE_THING, NUCLEUS_VERSION
from infra.preflight.unread import NOT_READABLE
from recipes.findings import Severity
from tests.infra.fakes import (
    CONTEXT,
    Account,
    Device,
)
from tests.infra.preflight.findings.found import LITE, findings, of_a_group, the_one
from tests.infra.pulumi_engine import Engine
from tests.infra.pulumi_yaml import config_of, load

pytestmark = pytest.mark.usefixtures("account")


# Devices


def test_a_device_of_another_architecture_is_named_with_the_command_that_adds_it(
    account: Account,
) -> None:
    account.devices["press-1"].architecture = "aarch64"
    found = the_one(findings())
    assert found.rule is DEVICE_ARCHITECTURE
    assert found.where == "press-1 (aarch64; the release: amd64)"
    assert found.commands == ("pulumi config set --path 'architectures[1]' aarch64",)


@pytest.mark.parametrize(("said", "meant"), [("arm64", "aarch64"), ("x86_64", "amd64")])
def test_an_architecture_may_have_its_other_name(account: Account, said: str, meant: str) -> None:
    account.devices["press-1"].architecture = said
    assert findings(architectures=[meant]) == []


def test_a_device_that_does_not_say_its_architecture_is_a_warning(account: Account) -> None:
    account.devices["press-1"].architecture = ""
    found = the_one(findings())
    assert found.rule is NOT_READABLE
    assert "uname -m" in found.text


def test_lite_is_reached_by_a_group_and_never_by_its_thing(account: Account) -> None:
    account.devices["press-1"] = Device(runtime=LITE, version="2.6.0")
    found = the_one(findings())
    assert found.rule is LITE_THING
    assert "aws iot add-thing-to-thing-group --thing-name press-1" in found.text
    assert "pulumi config set thing-group" in found.text
    group = of_a_group(account, Device(runtime=LITE, version="2.6.0"))
    assert findings(**group) == []


def test_the_version_that_lite_needs_of_systemd_is_told_and_stops_nothing(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(config_of(None, **of_a_group(account, Device(runtime=LITE, version="2.6.0"))))
    told: list[str] = []
    monkeypatch.setattr("pulumi.log.info", told.append)
    Engine(upstream=None).run(
        lambda: preflight.check(settings, CONTEXT, Target.find(settings, CONTEXT)),
        stack="dev",
    )
    [systemd] = told
    assert LITE_SYSTEMD.name in systemd
    assert "systemctl --version" in systemd


@pytest.mark.parametrize(
    ("runtime", "version", "least"),
    [(LITE, "2.2.2", "2.3"), ("aws_nucleus_classic", "2.0.5", "2.1"), ("", "2.0.5", "2.1")],
)
def test_a_nucleus_that_is_too_old_is_named_with_the_version_it_needs(
    account: Account, runtime: str, version: str, least: str
) -> None:
    group = of_a_group(account, Device(runtime=runtime, version=version))
    found = the_one(findings(**group))
    assert found.rule is NUCLEUS_VERSION
    assert found.where == f"press-2 ({version})"
    assert f"{least} or newer" in found.text


@pytest.mark.parametrize(
    ("runtime", "version"),
    [(LITE, "2.3.0"), (LITE, "2.10.0"), ("aws_nucleus_classic", "2.1.0"), ("", "")],
)
def test_a_nucleus_that_is_new_enough_or_does_not_say_is_let_be(
    account: Account, runtime: str, version: str
) -> None:
    group = of_a_group(account, Device(runtime=runtime, version=version))
    assert findings(**group) == []


def test_every_device_of_a_group_is_looked_at(account: Account) -> None:
    group = of_a_group(account, Device(architecture="arm"), Device(), Device(architecture="x86"))
    assert [one.where.split()[0] for one in findings(**group)] == ["press-2", "press-4"]


def test_a_large_group_is_listed_and_not_asked_device_by_device(account: Account) -> None:
    devices = [Device() for _ in range(29)] + [Device(architecture="aarch64")]
    group = of_a_group(account, *devices)
    account.devices["press-1"].architecture = "arm"  # It is not in the group.
    config = load(config_of(None, **group))
    target = Target.find(config, CONTEXT)
    found = list(preflight.findings(config, CONTEXT, target))
    mattering = [one for one in found if one.rule.severity is Severity.ERROR]
    assert the_one(mattering).where.startswith("press-31 ")
    asked = [operation for operation, _ in account.asked]
    assert "GetCoreDevice" not in asked, "a thousand devices would be a thousand requests"
