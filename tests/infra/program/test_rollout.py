"""What a rollout registers: rights, deployment, and the wait."""

from __future__ import annotations

import base64
import json
import pickletools
from typing import Any, cast

import pytest

from infra import policies
from infra.names import CHECK, COMPONENTS, SERVICE
from infra.preflight.release_needs import Wanted
from tests.infra.fakes import ACCOUNT, CONTEXT, REGION, THING_ARN, Account, Device, spec
from tests.infra.program.registered import Program, files, recipes, waits_for
from tests.infra.pulumi_engine import AS_REGISTERED, Engine
from tests.infra.pulumi_yaml import config_of, load

# The rollout


def test_the_devices_are_asked_for_the_versions_that_were_registered(deployed: Engine) -> None:
    asked = deployed.one("greengrassv2:Deployment").inputs["components"]
    assert {name: one["componentVersion"] for name, one in asked.items()} == {
        name: AS_REGISTERED.format(version=recipe["ComponentVersion"])
        for name, recipe in recipes(deployed).items()
    }, "taken from our own argument, the deployment would not wait for the registration"
    for version in deployed.of_type("greengrassv2:ComponentVersion"):
        assert waits_for(deployed, deployed.one("greengrassv2:Deployment"), version)


def test_the_versions_that_are_exported_are_those_in_the_recipes(program: Program) -> None:
    engine = program.run(thing="press-1")
    assert program.exported["components"] == {
        name: recipe["ComponentVersion"] for name, recipe in recipes(engine).items()
    }, "a preview names them"


def test_the_device_may_read_before_it_is_told_to(deployed: Engine) -> None:
    rights, deployment = deployed.one("RolePolicy"), deployed.one("greengrassv2:Deployment")
    assert rights.urn in deployment.depends_on, "the first download would be refused"
    allowed = json.dumps(rights.inputs["policy"])
    for one in files(deployed):
        assert f"arn:aws:s3:::{one.inputs['bucket']}/{one.inputs['key']}" in allowed
    assert f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/edge-inference/dev" in allowed
    assert rights.inputs["role"] == "GreengrassV2TokenExchangeRole"


def test_no_right_outlives_the_release_it_was_for(deployed: Engine) -> None:
    statements = json.loads(deployed.one("RolePolicy").inputs["policy"])["Statement"]
    readable = {arn for one in statements if one["Sid"] == "Artifacts" for arn in one["Resource"]}
    assert len(readable) == len(files(deployed)), "these objects, no others"


def test_the_preflight_measures_the_policy_that_is_written(deployed: Engine) -> None:
    wanted = Wanted.of(load(config_of(None, thing="press-1")), CONTEXT)
    ours = policies.read_release(objects=wanted.objects, repository=wanted.repository)
    assert len(json.dumps(ours)) == len(deployed.one("RolePolicy").inputs["policy"]), (
        "a role would be full in the middle of the update"
    )


def test_a_device_forgets_an_older_version_s_rights(deployed: Engine) -> None:
    asked = deployed.one("greengrassv2:Deployment").inputs["components"]
    for name in COMPONENTS:
        assert asked[name]["configurationUpdate"]["reset"] == ["/accessControl"], (
            "Java keeps what a component once had over a recipe's new defaults"
        )


OTHERS: dict[str, Any] = {
    "aws.greengrass.Nucleus": spec(
        "2.18.0", configurationUpdate={"merge": '{"a":1}', "reset": ["/b"]}
    ),
    "com.other": spec(
        "1.0.0",
        runWith={"posixUser": "someone", "systemResourceLimits": {"cpus": 0.5, "memory": 1024}},
    ),
    "com.plain": spec("3.0.0"),
}


def test_components_of_others_are_carried_on_unchanged(account: Account, program: Program) -> None:
    account.deploy(THING_ARN, "edge-inference/dev", OTHERS | {SERVICE: spec("0.0.1")})
    asked = program.run(thing="press-1").one("greengrassv2:Deployment").inputs["components"]
    assert {name: one for name, one in asked.items() if name not in COMPONENTS} == OTHERS, (
        "a device uninstalls what a deployment doesn't name, and forgets what it doesn't say"
    )
    assert asked[SERVICE]["componentVersion"] != "0.0.1", "ours is the new one"


def test_a_component_of_others_has_no_part_that_is_not_carried_on(account: Account) -> None:
    model = account.session().client("greengrassv2").meta.service_model

    def members(name: str) -> set[str]:
        return set(cast(Any, model.shape_for(name)).members)

    parts = members("ComponentDeploymentSpecification")
    assert parts == {"componentVersion", "configurationUpdate", "runWith"}
    assert members("ComponentConfigurationUpdate") == {"merge", "reset"}
    assert members("ComponentRunWith") == {"posixUser", "systemResourceLimits", "windowsUser"}
    assert members("SystemResourceLimits") == {"cpus", "memory"}, "infra.rollout would lose it"


def test_others_go_only_where_the_stack_says_so(account: Account, program: Program) -> None:
    account.deploy(THING_ARN, "by hand", OTHERS)
    engine = program.run(thing="press-1", keep_components=False)
    assert set(engine.one("greengrassv2:Deployment").inputs["components"]) == set(COMPONENTS)


def test_the_wait_is_for_the_deployment_that_was_made_on_every_device(
    account: Account, program: Program
) -> None:
    account.groups = {"presses": ["press-1", "press-2"]}
    account.devices["press-2"] = account.devices["press-1"]
    engine = program.run(thing_group="presses", rollout_timeout=60)
    deployment, answering = engine.one("greengrassv2:Deployment"), engine.one("edge:Answering")
    waited = answering.inputs
    assert waited["deployment"] == "deployment-as-created"
    assert waited["target"] == deployment.inputs["targetArn"]
    assert waited["devices"] == ["press-1", "press-2"]
    assert waited["components"] == program.exported["components"], (
        "the versions that a preview names, also while an image is still to be built"
    )
    assert (waited["timeout"], waited["quorum"]) == (60, 100)
    assert program.exported["devices"] == ["press-1", "press-2"]
    assert program.exported["deployment"] == "deployment-as-created"


@pytest.mark.parametrize(
    ("values", "job"),
    [
        ({"quorum": 90}, None),
        ({"devices_per_minute": 5}, {"jobExecutionsRolloutConfig": {"maximumPerMinute": 5}}),
        ({"device_timeout": 30}, {"timeoutConfig": {"inProgressTimeoutInMinutes": 30}}),
        (
            {"abort_percent": 20},
            {
                "abortConfig": {
                    "criteriaList": [
                        {
                            "action": "CANCEL",
                            "failureType": "ALL",
                            "minNumberOfExecutedThings": 1,
                            "thresholdPercentage": 20,
                        }
                    ]
                }
            },
        ),
    ],
)
def test_a_group_is_told_at_the_rate_and_up_to_the_failures_that_the_stack_says(
    account: Account, program: Program, values: Any, job: Any
) -> None:
    account.groups = {"presses": ["press-1"]}
    asked = program.run(thing_group="presses", **values).one("greengrassv2:Deployment").inputs
    assert asked.get("iotJobConfiguration") == job, (
        "AWS's own default holds where nothing is asked for"
    )


def test_a_device_is_never_without_a_deployment(deployed: Engine) -> None:
    assert not deployed.one("greengrassv2:Deployment").deletes_first


@pytest.mark.parametrize(("down", "state"), [(CHECK, "BROKEN"), (SERVICE, "FINISHED")])
def test_an_unchanged_tree_is_deployed_again_to_a_device_that_is_down_since(
    account: Account, program: Program, monkeypatch: pytest.MonkeyPatch, down: str, state: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.info", said.append)
    program.run(thing="press-1")
    planned: dict[str, str] = program.exported["components"]
    wanted = {name: spec(version) for name, version in planned.items()}
    good = account.deploy(THING_ARN, "edge-inference/dev", wanted)
    account.devices["press-1"].deploys(good, "COMPLETED")
    for now, name in (
        ("RUNNING", "edge-inference/dev"),
        (state, f"edge-inference/dev (after {good[:8]})"),
    ):
        account.devices["press-1"].installed = {
            one: (version, now if one == down else "RUNNING") for one, version in planned.items()
        }
        engine = program.run(thing="press-1")
        assert engine.one("greengrassv2:Deployment").inputs["deploymentName"] == name
    assert said == [f"deploys, as press-1 has {down} {state}"]


def test_a_changed_release_is_told_in_one_plain_line(
    account: Account, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.info", said.append)
    program.run(thing="press-1")
    planned: dict[str, str] = program.exported["components"]
    older = {name: spec(version) for name, version in planned.items()} | {CHECK: spec("1.1.1")}
    good = account.deploy(THING_ARN, "edge-inference/dev", older)
    account.devices["press-1"].deploys(good, "COMPLETED")
    account.devices["press-1"].installed = {
        one: (version["componentVersion"], "RUNNING") for one, version in older.items()
    }
    program.run(thing="press-1")
    assert said == [f"deploys {CHECK}: not the versions of this stack's last deployment"]


def test_a_device_more_is_no_resource_more_and_few_calls(
    account: Account, program: Program
) -> None:
    """A resource for each device would not work for a fleet."""
    names = [f"press-{number}" for number in range(1, 51)]
    group = f"arn:aws:iot:{REGION}:{ACCOUNT}:thinggroup/presses"
    release = account.deploy(group, "edge-inference/dev", {CHECK: spec("1.2.3")})
    for name in names:
        account.devices[name] = Device(installed={CHECK: ("1.2.3", "RUNNING")})
        account.devices[name].deploys(release, "SUCCEEDED")

    def run(size: int) -> tuple[set[str], int]:
        account.groups, before = {"presses": names[:size]}, len(account.asked)
        engine = program.run(thing_group="presses")
        return {one.urn for one in engine.registered}, len(account.asked) - before

    (few, calls_of_two), (many, calls_of_fifty) = run(2), run(50)
    assert many == few
    each = 5  # Listed in its group and in its account, each a page here, and asked three times.
    assert calls_of_fifty <= calls_of_two + each * 48


def test_a_deployment_looks_again_whether_somebody_came_while_the_release_was_built(
    deployed: Engine,
) -> None:
    assert "rollout-unchanged-target" in deployed.one("greengrassv2:Deployment").before_create


def test_everything_of_ours_can_be_told_by_its_tags(deployed: Engine) -> None:
    for suffix in ("Bucket", "Repository", "ComponentVersion", "Deployment"):
        for one in deployed.of_type(f":{suffix}"):
            assert one.inputs["tags"] == {
                "edge-inference:project": "edge-inference",
                "edge-inference:stack": "dev",
            }, f"{one.name} would be taken for somebody else's and block the next `up`"


def test_no_credential_is_stored(deployed: Engine) -> None:
    for kind in ("edge:Answering", "edge:CleanDevices", "edge:KeptVersions"):
        assert set(deployed.one(kind).inputs) & {"password", "token", "secret"} == set()
    stored = json.dumps([one.inputs for one in deployed.of_type("pulumi-python")], default=vars)
    assert "nobody" not in stored, "the made-up access key of this test's account"


def test_a_destroy_finds_the_code_that_an_older_up_has_named_in_the_state(deployed: Engine) -> None:
    homes = {
        "Answering": "AnsweringProvider",
        "CleanDevices": "CleanDevicesProvider",
        "KeptVersions": "KeptVersionsProvider",
        "NobodyFollows": "NobodyFollowsProvider",
        "Residue": "ResidueProvider",
        "Sbom": "SbomProvider",
    }
    stored = {
        one.type.rpartition(":")[2]: base64.b64decode(one.inputs["__provider"])
        for one in deployed.registered
        if "__provider" in one.inputs
    }
    assert {
        kind: [word for _, word, _ in pickletools.genops(code) if isinstance(word, str)]
        for kind, code in stored.items()
    } == {kind: ["infra.dynamic", name] for kind, name in homes.items()}, (
        "a destroy imports the class by the names in the state; moved, it would not be found"
    )
    for kind, code in stored.items():
        assert len(code) < 100, f"{kind}: pickled by value, every edit would be a change"
