"""Findings about followers and recipes, and the form of all findings."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from infra.account.target import Target
from infra.preflight import preflight
from infra.preflight.device import DEVICE_ARCHITECTURE, LITE_THING
from infra.preflight.release_needs import Wanted
from infra.settings import Misconfigured
from recipes.rules import RULES, required
from tests.infra.fakes import (
    ACCOUNT,
    CONTEXT,
    REGION,
    Account,
    Device,
)
from tests.infra.preflight.findings.found import LITE, UPSTREAM, fill, findings, the_one
from tests.infra.pulumi_engine import DIGEST
from tests.infra.pulumi_yaml import config_of, load

pytestmark = pytest.mark.usefixtures("account")


# Followers


def test_a_follower_s_device_has_to_fit_what_was_published(account: Account) -> None:
    found = the_one(findings(stack="press-2", release_from="dev", upstream=UPSTREAM))
    assert found.where == "press-1 (amd64; the release: aarch64)"
    assert "pulumi config set --stack dev" in found.text, "it is the publisher that has to build it"
    assert "pulumi up --stack dev" in found.text
    account.devices["press-1"].architecture = "aarch64"
    assert findings(stack="press-2", release_from="dev", upstream=UPSTREAM) == []


def test_a_follower_s_role_has_to_read_what_was_published(account: Account) -> None:
    findings(stack="press-2", release_from="dev", upstream=UPSTREAM)
    asked = {
        resource
        for operation, request in account.asked
        if operation == "SimulatePrincipalPolicy"
        for resource in request["ResourceArns"]
    }
    assert asked == {*UPSTREAM["objects"], UPSTREAM["repository_arn"], "*"}


def test_a_follower_of_a_stack_without_a_release_is_told_to_publish_first() -> None:
    with pytest.raises(Misconfigured, match="'dev' has published no release") as refused:
        findings(stack="press-2", release_from="dev", upstream={})
    assert "pulumi up --stack dev" in str(refused.value)


# The recipes


def test_a_recipe_that_would_grow_too_long_is_refused_before_its_image_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert findings(architectures=["amd64", "aarch64"]) == []
    monkeypatch.setattr(required, "MAX_RECIPE_BYTES", 3_000)
    found = findings(architectures=["amd64", "aarch64"])
    assert {one.rule.name for one in found} == {"recipe-size"}
    assert found[0].where.startswith("com.ml.")


def test_a_preview_measures_the_recipes_as_they_will_be_registered() -> None:
    settings = load(config_of(None, thing="press-1"))
    [first, *_] = Wanted.of(settings, CONTEXT).recipes
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/edge-inference/dev@{DIGEST}"
    [manifest] = first["Manifests"]
    assert len(manifest["Artifacts"][0]["Uri"]) == len(f"docker:{image}")


# How it is said


def test_every_error_is_said_at_once_and_every_warning_once(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.devices["press-1"] = Device(architecture="arm", runtime=LITE, version="2.6.0")
    account.denied = {"GetRole"}
    settings = load(config_of(None, thing="press-1"))
    target = Target.find(settings, CONTEXT)
    warned: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", warned.append)
    with pytest.raises(Misconfigured) as refused:
        preflight.check(settings, CONTEXT, target)
    said = str(refused.value)
    assert "nothing was changed" in said
    for rule in (DEVICE_ARCHITECTURE, LITE_THING):
        assert f"({rule.name})\n{rule.reason}\n" in said, "fixing one to meet the next is slow"
    [warning] = warned
    assert "GetRole" in warning
    assert "info" not in said


def test_warnings_alone_do_not_stop_an_update(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.denied = {"GetRole"}
    warned: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", warned.append)
    settings = load(config_of(None, thing="press-1"))
    preflight.check(settings, CONTEXT, Target.find(settings, CONTEXT))
    assert len(warned) == 1


def test_the_number_of_requests_does_not_grow_with_the_release(account: Account) -> None:
    settings = load(config_of(None, thing="press-1", architectures=["amd64", "aarch64"]))
    target = Target.find(settings, CONTEXT)
    fill(account, "dev")  # It is replaced, and not read.
    account.asked.clear()
    preflight.findings(settings, CONTEXT, target)
    assert [operation for operation, _ in account.asked] == [
        "ListDeployments",  # It tells which stacks' models are neighbours.
        "ListEffectiveDeployments",
        "GetRole",
        *["SimulatePrincipalPolicy"] * 3,  # Objects, image, registry token.
        "ListRolePolicies",
    ]


def test_the_finding_in_the_docs_is_printed_so(account: Account) -> None:
    account.devices["press-1"].architecture = "aarch64"
    [found] = [one for one in findings() if one.rule is DEVICE_ARCHITECTURE]
    assert textwrap.indent(found.text, "    ") in Path("docs/preflight.md").read_text()


def test_the_rules_in_the_docs_are_those_in_the_code() -> None:
    table = Path("docs/preflight.md").read_text()
    rules = (*RULES, *preflight.RULES)
    for rule in rules:
        row = f"| `{rule.name}` | {rule.severity} | {rule.bites} | {rule.reason} | {rule.source} |"
        assert row in table, f"docs/preflight.md has no line\n{row}"
    assert table.count("\n| `") == len(rules), "a rule that is gone still stands there"
