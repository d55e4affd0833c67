"""A person can do by hand what CI does, and a workflow has only the rights that it needs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.ci.roles import BRANCH, ENVIRONMENT
from fleet.ci.stacks import changed, in_turn
from fleet.stacks import NoStack, Stack
from greenhouse.toolchain.pulumi_cli import PINNED

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: path for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
STEP = re.compile(r'make (?:--silent )?([a-z-]+)(?: >>? "\$[A-Z_]+(?:\.md)?")?')

every_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def read(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(WORKFLOWS[name].read_text())
    return found


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read(name)["jobs"]
    return found


def runs() -> set[str]:
    return {
        step["run"]
        for name in WORKFLOWS
        for job in jobs(name).values()
        for step in job["steps"]
        if "run" in step
    }


@pytest.mark.parametrize("run", sorted(runs()))
def test_every_step_is_one_make_target_that_is_there(run: str) -> None:
    step = STEP.fullmatch(run)
    assert step, f"{run!r}: what a person can't call by one name, a person can't do by hand"
    done = subprocess.run(
        ["make", "--dry-run", step[1]],
        cwd=ROOT,
        env={**os.environ, "STACK": "dev"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@every_workflow
def test_no_right_is_there_unless_a_job_names_it(name: str) -> None:
    assert read(name)["permissions"] == {}
    for job in jobs(name).values():
        rights = job["permissions"]
        assert rights.pop("contents") == "read"
        assert len(rights) <= 1, "a job that vouches to AWS doesn't also write to GitHub"
        assert rights.items() <= {"id-token": "write", "pull-requests": "write"}.items()


@every_workflow
def test_an_action_is_a_commit_and_not_a_tag_that_moves(name: str) -> None:
    for line in WORKFLOWS[name].read_text().splitlines():
        if "uses:" in line:
            assert re.fullmatch(r"\s+- uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), (
                line
            )


@every_workflow
def test_nothing_runs_for_a_fork_s_pull_request(name: str) -> None:
    if "pull_request" in read(name)[True]:  # YAML reads `on` as true.
        for job in jobs(name).values():
            own = "github.event.pull_request.head.repo.full_name == github.repository"
            assert own in job["if"] or "stacks" in job["needs"], "nor without the one that asks"


def test_no_workflow_gives_a_pull_request_s_code_the_rights_of_its_base() -> None:
    assert not [name for name in WORKFLOWS if "pull_request_target" in read(name)[True]]


def test_the_job_that_writes_to_a_pull_request_runs_no_code_of_it() -> None:
    comment = jobs("preview.yml")["comment"]
    [checkout] = [one for one in comment["steps"] if "checkout" in one.get("uses", "")]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"


def test_the_page_of_a_refused_plan_reaches_the_comment() -> None:
    steps = jobs("preview.yml")["plan"]["steps"]
    [upload] = [one for one in steps if "upload-artifact" in one.get("uses", "")]
    assert upload["if"] == "!cancelled()", "a failed `make plan` has written why"
    assert jobs("preview.yml")["comment"]["if"].startswith("!cancelled()")


def test_a_running_up_is_never_cancelled_and_only_the_environment_deploys() -> None:
    assert read("up.yml")["concurrency"] == {"group": "up", "cancel-in-progress": False}
    deploying = {
        (name, key)
        for name in WORKFLOWS
        for key, job in jobs(name).items()
        if "AWS_DEPLOY_ROLE" in str(job)
    }
    assert deploying == {("up.yml", "publishers"), ("up.yml", "followers")}
    assert {jobs(name)[key]["environment"] for name, key in deploying} == {ENVIRONMENT}
    assert "publishers" in jobs("up.yml")["followers"]["needs"], "the canary first"


def test_a_device_that_needs_a_look_fails_the_command_and_hides_no_drift_of_the_account() -> None:
    steps = jobs("drift.yml")["drift"]["steps"]
    [status] = [one for one in steps if one.get("run") == "make status"]
    [drift] = [one for one in steps if one.get("run") == "make drift"]
    assert drift["if"] == "!cancelled()"
    assert status["env"] == {"FAIL": "1"}


@every_workflow
def test_a_stack_s_failed_job_cancels_no_other_s(name: str) -> None:
    """GitHub's default kills the rest of a matrix: an update half-way, its state locked."""
    strategies = [job["strategy"] for job in jobs(name).values() if "strategy" in job]
    assert all(one.get("fail-fast") is False for one in strategies)


def test_the_role_that_looks_is_taken_on_the_branch_that_its_trust_names() -> None:
    assert read("up.yml")[True]["push"]["branches"] == [BRANCH]
    assert f"github.ref == 'refs/heads/{BRANCH}'" in jobs("drift.yml")["stacks"]["if"]


@every_workflow
def test_packages_are_installed_before_a_job_has_a_role(name: str) -> None:
    for job in jobs(name).values():
        steps = [one.get("run") or one["uses"].partition("@")[0] for one in job["steps"]]
        if "aws-actions/configure-aws-credentials" in steps:
            before = steps[: steps.index("aws-actions/configure-aws-credentials")]
            assert "make setup" in before


def test_an_install_runs_no_code_of_what_it_installs() -> None:
    """The job may ask GitHub for its token from the first step on."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    [install] = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert "--only-binary :all:" in install, "a source distribution's setup.py would run"


STACKS = [
    Stack(name="dev", config={"edge-inference:model": "models/a.json"}),
    Stack(name="press-2", config={"edge-inference:release-from": "dev"}),
    Stack(
        name="press-3",
        config={"edge-inference:release-from": "dev", "edge-inference:release": "r1234abcd"},
    ),
]


@pytest.mark.parametrize(
    ("path", "touched"),
    [
        ("infra/resources/rollout.py", ["dev", "press-2", "press-3"]),
        ("edge/inference/engines/forest.c", ["dev", "press-2", "press-3"]),
        ("Pulumi.press-2.yaml", ["press-2"]),
        ("Pulumi.dev.yaml", ["dev", "press-2"]),
        ("models/a.json", ["dev", "press-2"]),
        ("docs/ci.md", []),
        ("tests/infra/publish/test_recipe.py", []),
    ],
)
def test_a_stack_changes_with_the_program_its_own_files_and_whom_it_follows(
    path: str, touched: list[str]
) -> None:
    """A stack that names a release stays on it, whatever its publisher does."""
    assert changed(STACKS, [path]) == touched


def test_a_follower_deploys_after_the_stack_it_follows() -> None:
    assert in_turn(STACKS[::-1]) == (["dev"], ["press-3", "press-2"])


def test_a_follower_of_a_follower_has_no_turn() -> None:
    third = Stack(name="press-4", config={"edge-inference:release-from": "press-2"})
    with pytest.raises(NoStack) as refused:
        in_turn([*STACKS, third])
    assert "press-4 follows press-2, which follows dev" in str(refused.value)
    assert "pulumi config set --stack press-4 release-from dev" in str(refused.value)


def test_the_workflows_install_the_pulumi_cli_that_make_up_installs() -> None:
    installed = {
        (name, step["with"]["pulumi-version"])
        for name in WORKFLOWS
        for job in jobs(name).values()
        for step in job["steps"]
        if step.get("uses", "").startswith("pulumi/actions@")
    }
    assert installed == {(name, PINNED) for name in ("drift.yml", "preview.yml", "up.yml")}


def test_dependabot_looks_at_each_go_module() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    seen = {
        folder
        for update in updates
        if update["package-ecosystem"] == "gomod"
        for folder in update["directories"]
    }
    there = {f"/{path.parent.relative_to(ROOT)}" for path in ROOT.glob("greenhouse/**/go.mod")}
    assert seen == there
