"""A deployment's name says which stack made it, and whether it was an uninstall."""

from __future__ import annotations

import pytest

from infra.deployment_names import DeploymentName, stack_of

DEV = DeploymentName(project="edge-inference", stack="dev")


@pytest.mark.parametrize("made", [DEV, DEV.after("1b9d6bcd-0000"), DEV.without])
def test_the_name_of_a_stack_s_deployment_is_read_back(made: DeploymentName) -> None:
    assert DeploymentName.parse(str(made), project="edge-inference") == made
    assert DEV.is_own(str(made)), "for any purpose"
    assert DEV.another_stack(str(made)) == ""


def test_the_names_are_those_that_an_operator_reads() -> None:
    assert str(DEV) == "edge-inference/dev"
    assert str(DEV.after("1b9d6bcd-0000")) == "edge-inference/dev (after 1b9d6bcd)"
    assert str(DEV.after("1b9d6bcd-0000").without) == "without edge-inference/dev"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "by hand",
        "edge-inference/dev by hand",
        "another/dev",
        "edge-inference/",
        "edge-inference/dev (after 1) ",
        "without edge-inference/dev (after 1)",
    ],
)
def test_a_name_by_hand_is_no_stack_s(name: str) -> None:
    assert DeploymentName.parse(name, project="edge-inference") is None
    assert not DEV.is_own(name)


def test_a_stack_whose_name_begins_alike_is_another() -> None:
    assert not DEV.is_own("edge-inference/dev2")
    assert DEV.another_stack("edge-inference/dev2 (after 1b9d6bcd)") == "dev2"


def test_an_uninstall_releases_nothing() -> None:
    assert stack_of("edge-inference", "without edge-inference/dev2") == ""
    assert DEV.another_stack("without edge-inference/dev2") == ""
