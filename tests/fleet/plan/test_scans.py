"""A plan has the findings of ECR's scan of its images, and `--fail-on` can name them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.plan import page
from fleet.plan.account_facts import AccountFacts, read_facts
from fleet.plan.plan import FailOn, Plan
from fleet.plan.plan import plan as plan_of
from fleet.plan.preview import Preview, Resource
from fleet.plan.scans import Scan, scans
from fleet.plan.stack_change import StackChange
from infra.account.clients import Clients
from infra.names import SERVICE
from tests.infra.fakes import REGION, Account

IMAGE = f"1.dkr.ecr.{REGION}.amazonaws.com/edge-inference/dev@sha256:{'a' * 64}"
OTHER = IMAGE.replace("a" * 64, "b" * 64)
KEY = ("edge-inference/dev", IMAGE.partition("@")[2])


def finding(severity: str, name: str) -> dict[str, str]:
    return {"severity": severity, "name": name, "uri": "https://security-tracker.debian.org"}


def basic(*findings: dict[str, str]) -> dict[str, Any]:
    return {
        "imageScanStatus": {"status": "COMPLETE", "description": "The scan was completed."},
        "imageScanFindings": {"findings": list(findings)},
    }


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account.with_a_device(monkeypatch)


def scan() -> Scan:
    [found] = scans(Clients(region=REGION, profile=None), [IMAGE])
    return found


def test_a_basic_scan_is_read_to_its_last_page(account: Account) -> None:
    account.scans[KEY] = basic(
        finding("LOW", "CVE-2026-1"), finding("CRITICAL", "CVE-2026-9"), finding("HIGH", "CVE-2")
    )
    assert set(scan().found) == {
        ("LOW", "CVE-2026-1"),
        ("CRITICAL", "CVE-2026-9"),
        ("HIGH", "CVE-2"),
    }


def test_an_enhanced_scan_names_what_inspector_names(account: Account) -> None:
    account.scans[KEY] = {
        "imageScanStatus": {"status": "ACTIVE"},
        "imageScanFindings": {
            "enhancedFindings": [
                {
                    "severity": "HIGH",
                    "title": "CVE-2026-3 - zlib1g",
                    "packageVulnerabilityDetails": {"vulnerabilityId": "CVE-2026-3"},
                },
                {"severity": "LOW", "title": "a title alone"},
            ]
        },
    }
    assert scan().found == (("HIGH", "CVE-2026-3"), ("LOW", "a title alone"))


@pytest.mark.parametrize(
    ("severity", "named"),
    [
        ("critical", ["C"]),
        ("high", ["C", "H"]),
        ("medium", ["C", "H", "M"]),
        ("low", ["C", "H", "M", "L"]),
    ],
)
def test_findings_less_severe_than_the_stack_says_are_not_named(
    severity: str, named: list[str]
) -> None:
    words = ("LOW", "INFORMATIONAL", "CRITICAL", "UNDEFINED", "MEDIUM", "HIGH")
    found = Scan(image=IMAGE, found=tuple((word, word[0]) for word in words))
    assert [name for _, name in found.at_least(severity)] == named, "the worst first"


@pytest.mark.parametrize(
    ("status", "coming"),
    [("IN_PROGRESS", True), ("PENDING", True), ("UNSUPPORTED_IMAGE", False), ("FAILED", False)],
)
def test_without_a_result_the_reason_is_ecr_s(account: Account, status: str, coming: bool) -> None:
    account.scans[KEY] = {"imageScanStatus": {"status": status, "description": "Its words."}}
    assert scan() == Scan(image=IMAGE, missing=f"ECR says {status} Its words.", coming=coming)


@pytest.mark.usefixtures("account")
def test_an_image_that_no_scan_has_seen_is_no_error() -> None:
    assert scan() == Scan(image=IMAGE, missing="ECR has no scan of it", coming=True)


# In the plan


def planned(**more: Any) -> StackChange:
    empty = Preview(project="edge-inference", stack="dev", resources=(), config={}, findings=())
    return replace(StackChange.of(empty), **more)


def recipe(image: str) -> dict[str, Any]:
    return {"Manifests": [{"Artifacts": [{"Uri": f"docker:{image}"}]}]}


def made(*found: Scan, severity: str = "high") -> Plan:
    return plan_of(planned(severity=severity), (), AccountFacts(scans=found))


VULNERABLE = Scan(image=IMAGE, found=(("HIGH", "CVE-2026-2"), ("LOW", "CVE-2026-1")))
UNSCANNED = Scan(image=OTHER, missing="ECR says UNSUPPORTED_IMAGE", coming=False)


def test_the_severity_is_the_stack_s_and_high_by_default() -> None:
    stack = Resource(op="same", type="a:Stack", name="s", before={}, after={}, stood={})
    preview = Preview(
        project="edge-inference", stack="dev", resources=(stack,), config={}, findings=()
    )
    assert StackChange.of(preview).severity == "high"
    told = replace(preview, config={"edge-inference:scan-severity": "low"})
    assert StackChange.of(told).severity == "low"


def test_the_image_that_the_update_leads_to_is_asked_about_and_the_one_of_before_is_not(
    account: Account,
) -> None:
    versions = {SERVICE: "1.0.2"}
    coming = planned(
        versions=versions,
        recipes={(SERVICE, "1.0.2"): recipe(IMAGE), (SERVICE, "1.0.1"): recipe(OTHER)},
    )
    account.scans[KEY] = basic(finding("HIGH", "CVE-2026-2"))
    clients = Clients(region=REGION, profile=None)
    _, account_facts = read_facts(clients, coming, root=Path())
    assert [one.image for one in account_facts.scans] == [IMAGE]
    _, account_facts = read_facts(clients, replace(coming, destroys=True), root=Path())
    assert account_facts.scans == ()


def test_the_page_names_number_and_names_and_the_gate_closes() -> None:
    plan = made(VULNERABLE, UNSCANNED)
    assert plan.caught(FailOn.VULNERABLE) == ("CVE-2026-2",)
    text = page.render(plan, [FailOn.VULNERABLE])
    assert "- ❌ **vulnerable**: `CVE-2026-2`; image `bbbbbbbbbbbb`: `ECR says UNSUPP" in text
    assert (
        "- ⚠️ image `aaaaaaaaaaaa`: 1 finding of severity high or above: `CVE-2026-2 (high)`"
    ) in text
    assert "- ⚠️ image `bbbbbbbbbbbb` is not scanned: `ECR says UNSUPPORTED_IMAGE`" in text
    assert made(VULNERABLE, severity="critical").caught(FailOn.VULNERABLE) == ()
    both = ("CVE-2026-1", "CVE-2026-2")
    assert made(VULNERABLE, severity="low").caught(FailOn.VULNERABLE) == both


def test_a_scan_that_is_to_come_is_named_where_the_gate_asks_for_it() -> None:
    plan = made(Scan(image=IMAGE, missing="ECR has no scan of it", coming=True))
    assert "Findings" not in page.render(plan), "otherwise each plan after a push would have one"
    assert "✅ vulnerable: none; image `aaaaaaaaaaaa`: `ECR has no scan of it`" in page.render(
        plan, [FailOn.VULNERABLE]
    )
    unbuilt = replace(made(), unread=(SERVICE,))
    assert "none; the image to be built is scanned once it is pushed" in page.render(
        unbuilt, [FailOn.VULNERABLE]
    )
