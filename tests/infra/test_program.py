"""The whole program under a mock of the engine: what it registers, and what waits for what."""

from __future__ import annotations

import base64
import bz2
import hashlib
import json
import pickletools
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pulumi
import pytest
import yaml
from pulumi.runtime.rpc import is_rpc_secret

from infra import policies
from infra.account.clients import Role
from infra.account.context import Context
from infra.names import CHECK, COMPONENTS, CONSUMER, SERVICE
from infra.preflight.wanted import Wanted
from infra.settings import Misconfigured
from tests.infra.engine import AS_REGISTERED, DIGEST, Engine, Registered
from tests.infra.fakes import ACCOUNT, CONTEXT, REGION, THING_ARN, Account, Device, spec
from tests.infra.pulumi_yaml import ROOT, config_of, load

BOTH = ["amd64", "aarch64"]
ENDS = ("residue", "nobody-follows")  # of a stack: everything is between them
PROVIDERS = ("aws", "aws-native")
BESIDE = (*ENDS, *PROVIDERS)  # the components
UPSTREAM: dict[str, Any] = {
    "release": "cafe0123",
    "model": "abc",
    "components": {name: f"1.{number}.7" for number, name in enumerate(COMPONENTS)},
    "objects": ["arn:aws:s3:::edge-inference-dev/1/model.json"],
    "repository_arn": "arn:aws:ecr:eu-west-1:123456789012:repository/edge-inference/dev",
    "repository": "edge-inference/dev",
    "bucket": "edge-inference-dev",
    "image": {"amd64": f"somewhere@{DIGEST}"},
    "samples": "s3://edge-inference-dev/2/samples.json",
    "golden": "s3://edge-inference-dev/3/golden.json",
}


class Program:
    """One run of __main__.py: what it registered and exported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.engine = Engine(upstream=UPSTREAM)
        self.exported: dict[str, Any] = {}
        self.aws: dict[str, str] = {"aws:region": REGION}  # config by namespace and key
        self.told: dict[str, dict[str, Any]] = {}  # what plugins answer otherwise, by function

    def run(self, stack: str = "dev", **values: object) -> Engine:
        self.engine, self.exported = Engine(upstream=UPSTREAM, told=self.told), {}

        def export(name: str, value: object) -> None:
            pulumi.Output.from_input(value).apply(
                lambda known: self.exported.__setitem__(name, known)
            )

        self._monkeypatch.setattr(pulumi, "export", export)
        self.engine.run(
            lambda: runpy.run_path("__main__.py") and None,
            stack=stack,
            config=config_of(None, **values) | self.aws,
        )
        return self.engine


@pytest.fixture
def program(account: Account, monkeypatch: pytest.MonkeyPatch) -> Program:
    assert account.devices, "the program asks its test's account"
    return Program(monkeypatch)


@pytest.fixture(scope="module")
def deployed() -> Iterator[Engine]:
    """One run that the tests below only look at."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(ROOT)
        Account.with_a_device(monkeypatch)
        yield Program(monkeypatch).run(thing="press-1", architectures=BOTH)


def by_urn(engine: Engine) -> dict[str, Registered]:
    return {one.urn: one for one in engine.registered}


def waits_for(engine: Engine, later: Registered, earlier: Registered) -> bool:
    """Whether `later` is made only once `earlier` is there, over however many steps.

    A resource waits for its parent and its provider, and is destroyed before them: pulumi's engine
    counts them among the dependencies (pkg/resource/graph/dependency_graph.go, DependenciesOf).
    """
    everything, seen, open_ = by_urn(engine), set(), [later.urn]
    while open_:
        urn = open_.pop()
        if urn not in seen:
            seen.add(urn)
            one = everything[urn]
            open_.extend({*one.depends_on, one.parent, one.provider} & everything.keys())
    return earlier.urn in seen


def recipes(engine: Engine) -> dict[str, dict[str, Any]]:
    return {
        one.name: json.loads(one.inputs["inlineRecipe"])
        for one in engine.of_type("greengrassv2:ComponentVersion")
    }


def files(engine: Engine) -> list[Registered]:
    """The objects that devices download."""
    return [one for one in engine.of_type("BucketObjectv2") if one.name != "record"]


def content(one: Registered) -> bytes:
    """What an object holds, unpacked."""
    asset = one.inputs["source"]
    if isinstance(asset, pulumi.StringAsset):
        return str(asset.text).encode()
    stored = Path(asset.path).read_bytes()
    return bz2.decompress(stored) if one.inputs["key"].endswith(".bz2") else stored


# The tree of resources


def test_everything_belongs_to_a_component(deployed: Engine) -> None:
    strays = [
        one.name
        for one in deployed.registered
        if one.parent not in by_urn(deployed)
        and not one.type.startswith("edge:")
        and one.name not in BESIDE
    ]
    assert strays == [], "without parent=self it stands beside its component"


def test_components_make_only_what_they_are_named_for(deployed: Engine) -> None:
    for one in deployed.registered:
        if not one.type.startswith("edge:") and one.name not in BESIDE:
            parent = by_urn(deployed)[one.parent]
            where = one.type.partition(":")[2].split("/")[0].split(":")[0]
            allowed = {
                "edge:registry:Registry": {"ecr", "index", "dynamic"},
                "edge:artifacts:Artifacts": {"s3"},
                "edge:release:Components": {"greengrassv2", "dynamic", "s3"},
                "edge:rollout:Rollout": {"greengrassv2", "iam", "dynamic"},
            }[parent.type]
            assert where in allowed, f"{one.name} in {parent.type}"


def test_a_destroy_begins_with_what_may_refuse_it_and_ends_with_what_is_left(
    deployed: Engine,
) -> None:
    """Pulumi destroys a resource only once all are gone that were made after it."""
    residue, nobody_follows = deployed.one("edge:Residue"), deployed.one("edge:NobodyFollows")
    made = [one for one in deployed.registered if not one.type.startswith("edge:")]
    for one in made:
        if one is not residue:
            assert waits_for(deployed, one, residue), f"{one.name} may outlive the list"
        if one is not nobody_follows:
            assert waits_for(deployed, nobody_follows, one), f"{one.name} may be gone already"


def test_nothing_looked_up_is_changed_by_looking(account: Account, program: Program) -> None:
    program.run(thing="press-1")
    assert account.changes == [], "a preview runs the same lines"


def test_the_same_tree_registers_the_same_twice(program: Program) -> None:
    def shown(engine: Engine) -> dict[str, Any]:
        return {
            one.urn: json.dumps(one.inputs, sort_keys=True, default=vars)
            for one in engine.registered
        }

    assert shown(program.run(thing="press-1")) == shown(program.run(thing="press-1")), (
        "an unchanged tree would show changes"
    )


@pytest.mark.parametrize(
    ("function", "answer", "found"),
    [
        (
            "aws:index/getCallerIdentity:getCallerIdentity",
            {"accountId": "999999999999"},
            "the aws provider works in account 999999999999, eu-west-1",
        ),
        (
            "aws:index/getRegion:getRegion",
            {"region": "us-east-1"},
            f"the aws provider works in account {ACCOUNT}, us-east-1",
        ),
        (
            "aws-native:index:getAccountId",
            {"accountId": "999999999999"},
            "the aws-native provider works in account 999999999999, eu-west-1",
        ),
        (
            "aws-native:index:getRegion",
            {"region": "us-east-1"},
            f"the aws-native provider works in account {ACCOUNT}, us-east-1",
        ),
    ],
)
def test_a_provider_that_works_elsewhere_is_named(
    account: Account, program: Program, function: str, answer: dict[str, str], found: str
) -> None:
    program.told = {function: answer}
    with pytest.raises(Misconfigured) as refused:
        program.run(thing="press-1")
    assert found in str(refused.value)
    assert f"boto3, which asks the devices, in account {ACCOUNT}, {REGION}" in str(refused.value)
    assert [operation for operation, _ in account.asked] == ["GetCallerIdentity"], (
        "or it would say that the thing doesn't exist"
    )


def test_an_account_that_does_not_say_whose_keys_these_are_is_asked_nothing_else(
    account: Account, program: Program
) -> None:
    account.denied = {"GetCallerIdentity"}
    with pytest.raises(Misconfigured, match=r"doesn't tell who asks it in .*AccessDenied"):
        program.run(thing="press-1")
    assert program.engine.registered == []


def test_nothing_in_an_account_is_made_or_asked_by_a_default_provider(deployed: Engine) -> None:
    """Each default one would look for a region and a login of its own: cases/03."""
    made = {one.urn: one for one in deployed.registered if one.name in PROVIDERS}
    asked = {name: urn for name, urn in deployed.invoked.items() if name.startswith("aws")}
    by = {one.name: one.provider for one in deployed.registered if one.type.startswith("aws")}
    assert len(by) > 15
    assert len(asked) == 5
    packages = {one.name: one.type.partition(":")[0] for one in deployed.registered}
    for name, urn in (by | asked).items():
        package = packages.get(name) or name.partition(":")[0]
        assert made[urn].type == f"pulumi:providers:{package}", f"{name} has {urn or 'none'}"
    assert yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"][
        "pulumi:disable-default-providers"
    ] == {"value": list(PROVIDERS)}, "or one that is forgotten is found on AWS only"


@pytest.mark.parametrize("stack", ["a shell's", "the stack's"])
def test_the_state_keeps_no_login_of_a_shell(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str
) -> None:
    """Who destroys the stack has another shell; the SDKs put these into an explicit provider."""
    (tmp_path / "config").write_text("[profile of-this-shell]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "of-this-shell")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/of/this/shell")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    if stack == "the stack's":
        program.aws["aws:profile"] = "plant"
    engine = program.run(thing="press-1")
    for kind in PROVIDERS:
        inputs = engine.one(f"pulumi:providers:{kind}").inputs
        assert inputs["region"] == REGION
        assert inputs.get("profile") == program.aws.get("aws:profile")
        assert "sharedCredentialsFile" not in inputs


def test_both_providers_and_boto3_are_given_the_same_role_and_tags(program: Program) -> None:
    role = {"roleArn": f"arn:aws:iam::{ACCOUNT}:role/deployer", "externalId": "plant-7"}
    program.aws |= {
        "aws:assumeRoles": json.dumps([role]),
        "aws:defaultTags": json.dumps({"tags": {"team": "edge"}}),
    }
    engine = program.run(thing="press-1")
    of_aws = engine.one("pulumi:providers:aws").inputs
    of_native = engine.one("pulumi:providers:aws-native").inputs
    assert json.loads(of_aws["assumeRoles"]) == [role]
    assert json.loads(of_native["assumeRole"]) == role
    for inputs in (of_aws, of_native):
        assert json.loads(inputs["defaultTags"]) == {"tags": {"team": "edge"}}
    for kind in ("Residue", "KeptVersions", "CleanDevices", "Answering", "NobodyFollows"):
        kept = engine.one(f"edge:{kind}").inputs
        remembered = Context.remembered(kept)
        assert remembered.clients.role == Role(arn=role["roleArn"], external_id="plant-7")
        assert remembered.default_tags == {"team": "edge"}


@pytest.mark.parametrize(
    "values",
    [
        {"thing": "nobody"},
        {"thing": "press-1", "samples": "edge/consumer/consumer.py"},
        {"thing": "press-1", "memory": 20},
    ],
)
def test_a_refusal_comes_before_the_first_resource(program: Program, values: Any) -> None:
    with pytest.raises(Misconfigured):
        program.run(**values)
    assert {one.name for one in program.engine.registered} <= {"residue", *PROVIDERS}, (
        "an `up` would stop half-way"
    )


# The release


def test_objects_lie_under_a_key_made_from_their_content_and_are_kept(deployed: Engine) -> None:
    objects = files(deployed)
    assert {one.inputs["key"].partition("/")[2] for one in objects} == {
        "model.bz2",
        "samples.json",
        "golden.json",
        "consumer.py",
    }
    for one in objects:
        assert one.inputs["key"].startswith(f"{hashlib.sha256(content(one)).hexdigest()}/"), (
            "a device refuses an object that was overwritten since its version was made"
        )
        assert one.retained, "devices may still come from an older release"
        assert not one.deletes_first


def test_recipes_name_the_objects_and_images_that_were_made(deployed: Engine) -> None:
    stored = {f"s3://{one.inputs['bucket']}/{one.inputs['key']}" for one in files(deployed)}
    images = {
        f"docker:{one.inputs['imageName'].rpartition(':')[0]}@{DIGEST}"
        for one in deployed.of_type(":Image")
    }
    named = {
        artifact["Uri"]
        for recipe in recipes(deployed).values()
        for manifest in recipe["Manifests"]
        for artifact in manifest["Artifacts"]
    }
    assert named == stored | images, "by digest, as pushed: a tag could come to mean another image"


def test_a_component_version_waits_for_the_files_and_images_that_its_recipe_names(
    deployed: Engine,
) -> None:
    for version in deployed.of_type("greengrassv2:ComponentVersion"):
        for needed in [*deployed.of_type(":Image"), *files(deployed)]:
            assert waits_for(deployed, version, needed), (
                f"the cloud reads the artifacts when it makes the version: {needed.name}"
            )


def test_component_versions_are_kept_and_never_deleted_first(deployed: Engine) -> None:
    versions = deployed.of_type("greengrassv2:ComponentVersion")
    assert {one.name for one in versions} == set(COMPONENTS)
    for one in versions:
        assert one.retained, "a rollback and a follower need the older ones"
        assert not one.deletes_first, "the running deployment refers to it"


def test_a_destroy_removes_the_kept_versions_only_after_the_devices_were_cleared(
    deployed: Engine,
) -> None:
    clean, kept = deployed.one("edge:CleanDevices"), deployed.one("edge:KeptVersions")
    assert waits_for(deployed, clean, kept), "what is made first is destroyed last"
    tags = deployed.one("s3/bucket:Bucket").inputs["tags"]
    sweeps = Context.remembered(kept.inputs).tags
    assert sweeps == tags, "or it would sweep nothing, or too much"


def test_whatever_becomes_of_an_up_a_destroy_clears_the_devices(deployed: Engine) -> None:
    clean, deployment = deployed.one("edge:CleanDevices"), deployed.one("greengrassv2:Deployment")
    assert clean.urn in deployment.depends_on, (
        "killed between the two, an `up` would leave a device that no destroy knows of"
    )
    assert deployment.deleted_with == clean.urn, (
        "deleted before, it couldn't say which components of others stay"
    )


def test_a_target_has_a_cleaner_of_its_own_which_is_not_replaced(
    account: Account, program: Program
) -> None:
    account.groups = {"presses": ["press-1"]}
    there, elsewhere, back = (
        program.run(**values).one("edge:CleanDevices")
        for values in ({"thing": "press-1"}, {"thing_group": "presses"}, {"thing": "press-1"})
    )
    assert there.urn != elsewhere.urn, (
        "the old target is cleared, but only once the new one answers"
    )
    assert back.urn == there.urn, (
        "after a red move the way back would end with the old one's destroy, on devices that answer"
    )


def test_a_device_that_is_not_clean_yet_finds_what_it_runs(deployed: Engine) -> None:
    clean = deployed.one("edge:CleanDevices")
    for kind in ("RolePolicy", "s3/bucket:Bucket", "ecr/repository:Repository", ":Image"):
        for needed in deployed.of_type(kind):
            assert waits_for(deployed, clean, needed), f"a red destroy would have taken {kind}"


def test_what_can_be_met_as_a_leftover_is_cleared_before_it_is_made(deployed: Engine) -> None:
    immutable = ("ComponentVersion", "ecr/repository:Repository", "s3/bucket:Bucket", ":Image")
    for suffix in immutable:
        for one in deployed.of_type(suffix):
            assert one.before_create, f"a killed `up` before it blocks {one.name} for ever"
    hooks = [hook for one in deployed.registered for hook in one.before_create]
    assert len(set(hooks)) == len(hooks), "one name for each: the engine knows hooks by name"
    for image in deployed.of_type(":Image"):
        assert image.before_update == image.before_create, "a new tag is an update"


def test_an_image_for_each_architecture_under_a_tag_of_its_own(deployed: Engine) -> None:
    images = {one.inputs["build"]["platform"]: one for one in deployed.of_type(":Image")}
    assert set(images) == {"linux/amd64", "linux/arm64"}
    tags = {
        platform: one.inputs["imageName"].rpartition(":")[2] for platform, one in images.items()
    }
    assert tags["linux/amd64"].startswith("amd64-")
    assert tags["linux/arm64"].startswith("aarch64-")
    rules = json.loads(deployed.one("LifecyclePolicy").inputs["policy"])["rules"]
    assert rules == policies.lifecycle()["rules"]
    assert deployed.one("ecr/repository:Repository").inputs["imageTagMutability"] == "IMMUTABLE"


def test_the_registrys_password_is_a_secret_of_the_state(deployed: Engine) -> None:
    """The real docker plugin takes no secrets: what the program doesn't mark comes back plain."""
    images = deployed.of_type(":Image")
    assert images
    for image in images:
        assert is_rpc_secret(image.inputs["registry"]), "readable in the state file"


def test_the_state_is_the_same_in_every_checkout(deployed: Engine) -> None:
    here = str(Path.cwd())
    for one in deployed.registered:
        assert here not in json.dumps(one.inputs, default=vars), (
            f"{one.name}: a path of this machine would be a change on the next"
        )


def test_the_bucket_is_private_encrypted_and_tls_only(deployed: Engine) -> None:
    bucket = deployed.one("s3/bucket:Bucket").inputs["bucket"]
    around = [
        deployed.one(kind)
        for kind in (
            "BucketPublicAccessBlock",
            "BucketOwnershipControls",
            "BucketServerSideEncryptionConfiguration",
            "BucketPolicy",
        )
    ]
    assert {one.inputs["bucket"] for one in around} == {bucket}
    private, _, _, policy = around
    assert [value for key, value in private.inputs.items() if key != "bucket"] == [True] * 4
    [statement] = json.loads(policy.inputs["policy"])["Statement"]
    assert f"arn:aws:s3:::{bucket}/*" in statement["Resource"]
    assert waits_for(deployed, policy, private), "S3 answers one of two at a time with 409"


def test_a_destroy_takes_what_was_kept_along(deployed: Engine) -> None:
    assert deployed.one("s3/bucket:Bucket").inputs["forceDestroy"]
    assert deployed.one("ecr/repository:Repository").inputs["forceDelete"]


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({"memory": 128}, {SERVICE, CONSUMER, CHECK}),
        ({"build_image": "python:3.11.9"}, {SERVICE, CONSUMER, CHECK}),
        ({"consumer_interval": 60}, {CONSUMER, CHECK}),  # which judges all of them, so runs again
        ({"check_timeout": 60}, {CHECK}),
        ({"rollout_timeout": 60}, set()),
        ({"keep_releases": 7}, set()),
    ],
)
def test_a_component_gets_a_new_version_exactly_when_its_content_changed(
    program: Program, change: Any, moves: set[str]
) -> None:
    program.run()
    before = program.exported["components"]
    program.run(**change)
    after = program.exported["components"]
    assert {name for name in COMPONENTS if before[name] != after[name]} == moves, (
        "what hasn't changed isn't restarted on the device"
    )


def test_a_changed_question_changes_the_check_and_the_consumer_alone(
    program: Program, tmp_path: Path
) -> None:
    program.run()
    before = program.exported["components"]
    samples = json.loads(Path("edge/consumer/samples.json").read_text())[:-1]
    other = tmp_path / "samples.json"
    other.write_text(json.dumps(samples))
    program.run(samples=str(other))
    after = program.exported["components"]
    assert {name for name in COMPONENTS if before[name] != after[name]} == {CHECK, CONSUMER}


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


def test_what_others_run_there_is_carried_on_as_it_was(account: Account, program: Program) -> None:
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
    assert asked.get("iotJobConfiguration") == job, "what isn't asked for is AWS's own default"


def test_a_device_is_never_without_a_deployment(deployed: Engine) -> None:
    assert not deployed.one("greengrassv2:Deployment").deletes_first


def test_an_unchanged_tree_is_deployed_again_to_a_device_that_broke_since(
    account: Account, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.info", said.append)
    program.run(thing="press-1")
    planned: dict[str, str] = program.exported["components"]
    wanted = {name: spec(version) for name, version in planned.items()}
    good = account.deploy(THING_ARN, "edge-inference/dev", wanted)
    account.devices["press-1"].deploys(good, "COMPLETED")
    for state, name in (
        ("RUNNING", "edge-inference/dev"),
        ("BROKEN", f"edge-inference/dev (after {good[:8]})"),
    ):
        account.devices["press-1"].installed = {
            one: (version, state if one == CHECK else "RUNNING") for one, version in planned.items()
        }
        engine = program.run(thing="press-1")
        assert engine.one("greengrassv2:Deployment").inputs["deploymentName"] == name
    assert said == [f"deploys, as press-1 has {CHECK} BROKEN"]


def test_a_device_more_is_no_resource_more_and_few_calls(
    account: Account, program: Program
) -> None:
    """A program that made a resource of each device would be no program for a fleet."""
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
    each = 5  # listed in its group and in its account, each a page here; and asked three times
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


# Engines


def test_engine_xgboost_is_another_target_under_a_tag_of_its_own_and_one_word_of_the_recipe(
    program: Program,
) -> None:
    ours = program.run(thing="press-1")
    theirs = program.run(thing="press-1", engine="xgboost")
    before, after = ours.one(":Image").inputs, theirs.one(":Image").inputs
    assert "target" not in before["build"], "the default, which has no name"
    assert after["build"]["target"] == "xgboost"
    assert before["imageName"] != after["imageName"], "both are in one repository"

    def script(engine: Engine) -> str:
        [manifest] = recipes(engine)[SERVICE]["Manifests"]
        return str(manifest["Lifecycle"]["run"]["Script"])

    assert "--engine" not in script(ours)
    assert " serve --model /artifacts/model.bz2 --engine xgboost --request-topic " in script(theirs)


# Older releases


def put_record(account: Account, stack: str = "dev", **differs: Any) -> dict[str, Any]:
    """A release that the stack has published before, in its bucket."""
    bucket = f"edge-inference-{stack}-{ACCOUNT}-{REGION}"
    outputs = UPSTREAM | differs
    account.buckets[bucket] = {}
    account.objects.setdefault(bucket, {})[f"releases/{outputs['release']}.json"] = json.dumps(
        outputs
    ).encode()
    return outputs


def test_what_is_published_leaves_a_record_that_says_what_a_follower_would_read(
    program: Program,
) -> None:
    engine = program.run(thing="press-1")
    [record] = [one for one in engine.of_type("BucketObjectv2") if one.name == "record"]
    assert record.inputs["key"] == f"releases/{program.exported['release']}.json"
    kept = json.loads(record.inputs["content"])
    assert kept.pop("files") == {"model": "wine-quality.json", "samples": "samples.json"}
    [sbom] = kept.pop("sboms").values()
    assert sbom == f"s3://{kept['bucket']}/{'5' * 64}/sbom-amd64.json"
    assert kept == {name: program.exported[name] for name in UPSTREAM}
    for version in engine.of_type("greengrassv2:ComponentVersion"):
        assert waits_for(engine, record, version), "what has a record can be deployed"
    assert record.retained, "or the next release would take the way back away"
    assert not record.deletes_first


@pytest.mark.parametrize("follows", ["", "dev"])
def test_an_older_release_is_deployed_as_it_was_recorded(
    account: Account, program: Program, follows: str
) -> None:
    older = put_record(account, release="0123abcd")
    stack = "press-2" if follows else "dev"
    engine = program.run(stack, thing="press-1", release="0123abcd", release_from=follows)
    asked = engine.one("greengrassv2:Deployment").inputs["components"]
    assert {name: one["componentVersion"] for name, one in asked.items()} == older["components"]
    allowed = json.dumps(engine.one("RolePolicy").inputs["policy"])
    for arn in (*older["objects"], older["repository_arn"]):
        assert arn in allowed, "its device reads the older files"
    assert {name: program.exported[name] for name in UPSTREAM} == older, "and so do its followers"


def test_naming_an_older_release_changes_nothing_of_what_is_published(
    account: Account, program: Program
) -> None:
    def published(engine: Engine) -> dict[str, str]:
        return {
            one.urn: json.dumps(one.inputs, sort_keys=True, default=vars)
            for one in engine.registered
            if "edge:rollout:Rollout" not in one.urn and one.name not in ENDS
        }

    put_record(account, release="0123abcd")
    newest = published(program.run(thing="press-1"))
    assert published(program.run(thing="press-1", release="0123abcd")) == newest, (
        "what a pinned stack no longer declared would have to be made again on the way forward"
    )


def test_a_release_that_is_not_kept_is_refused_with_those_that_are(
    account: Account, program: Program
) -> None:
    with pytest.raises(Misconfigured, match=r"not kept .*: none\. pulumi config"):
        program.run(thing="press-1", release="0123abcd")
    for number in range(12):
        put_record(account, release=f"{number:08x}")
    with pytest.raises(Misconfigured) as refused:
        program.run(thing="press-1", release="0123abcd")
    assert "the newest first: 0000000b, 0000000a, 00000009, " in str(refused.value)
    assert "00000002 and 2 more. pulumi config set release ID" in str(refused.value)
    made = {one.name for one in program.engine.registered}
    assert made == {"residue", *PROVIDERS}, "before anything exists"


def test_a_device_that_an_older_release_does_not_fit_is_refused(
    account: Account, program: Program
) -> None:
    put_record(account, release="0123abcd", image={"aarch64": f"somewhere@{DIGEST}"})
    with pytest.raises(Misconfigured, match="device-architecture"):
        program.run(thing="press-1", release="0123abcd")


# Other stacks


def test_a_stack_without_a_target_publishes_and_deploys_nothing(program: Program) -> None:
    engine = program.run()
    assert len(engine.of_type("greengrassv2:ComponentVersion")) == 3
    for kind in ("greengrassv2:Deployment", "RolePolicy", "edge:Answering", "edge:rollout:Rollout"):
        assert engine.of_type(kind) == []
    assert "deployment" not in program.exported


def test_a_follower_builds_nothing_and_deploys_what_was_published(program: Program) -> None:
    engine = program.run(stack="press-2", thing="press-1", release_from="dev")
    assert {one.type for one in engine.registered} == {
        "edge:rollout:Rollout",
        "aws:iam/rolePolicy:RolePolicy",
        "aws-native:greengrassv2:Deployment",
        "pulumi-python:dynamic/edge:Answering",
        "pulumi-python:dynamic/edge:CleanDevices",
        "pulumi-python:dynamic/edge:Residue",
        "pulumi:providers:aws",
        "pulumi:providers:aws-native",
    }, "no image, no bucket, no version of its own"
    asked = engine.one("greengrassv2:Deployment").inputs["components"]
    assert {name: one["componentVersion"] for name, one in asked.items()} == UPSTREAM["components"]
    allowed = json.dumps(engine.one("RolePolicy").inputs["policy"])
    for arn in (*UPSTREAM["objects"], UPSTREAM["repository_arn"]):
        assert arn in allowed, "its device reads the publisher's files"


def test_a_publisher_exports_what_a_follower_reads(program: Program) -> None:
    program.run(stack="press-2", thing="press-1", release_from="dev")
    handed_on = dict(program.exported)
    program.run()
    assert set(program.exported) == set(UPSTREAM)
    assert set(handed_on) - {"deployment", "devices"} == set(UPSTREAM), (
        "a follower can be followed: both have the same outputs"
    )
    assert {name: type(value) for name, value in program.exported.items()} == {
        name: type(value) for name, value in UPSTREAM.items()
    }, "or the tests of a follower would be about another publisher"


def test_two_stacks_that_publish_the_same_content_have_nothing_in_common(program: Program) -> None:
    """Component versions are one namespace for the whole account, names of buckets the world's."""

    def made(stack: str) -> set[str]:
        engine = program.run(stack)
        return {
            *(f"{name} {one['ComponentVersion']}" for name, one in recipes(engine).items()),
            *(one.inputs["bucket"] for one in engine.of_type("s3/bucket:Bucket")),
            *(one.inputs["name"] for one in engine.of_type("ecr/repository:Repository")),
            *(one.inputs["imageName"] for one in engine.of_type(":Image")),
            program.exported["release"],
        }

    dev, other = made("dev"), made("press-2")
    assert len(dev) == len(other) == 7
    assert dev.isdisjoint(other), "a destroy of one would take from the other"


@pytest.mark.parametrize("stack", ["dev", "press-2"])
def test_two_stacks_on_one_role_have_a_policy_each(program: Program, stack: str) -> None:
    rights = program.run(stack=stack, thing="press-1").one("RolePolicy")
    assert rights.inputs["name"] == f"edge-inference-{stack}", "or one would overwrite the other's"
