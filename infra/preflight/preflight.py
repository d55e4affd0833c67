"""What would go wrong on the devices, said before anything is made.

Everything else of this program finds out by doing; here is what can be read beforehand, all at
once: whether the target's devices can run the release, whether their role may read it, whether the
recipes are portable. An answer that AWS withholds is a warning, never a refusal: whoever may deploy
needn't be allowed to read everything.

That a device really uses `device-role` can't be read from its thing: the name of its role alias
stands in the device's own configuration only. A role that isn't the device's shows itself when the
device can't download.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pulumi
from botocore.exceptions import BotoCoreError, ClientError

from infra import policies
from infra.account.followers import other_targets
from infra.account.greengrass import core_devices
from infra.account.target import Target, latest_deployment
from infra.context import Context
from infra.publish import recipe
from infra.publish.components import content
from infra.publish.records import Record
from infra.settings import Misconfigured, Settings
from recipes import rules
from recipes.findings import Bites, Finding, Rule, Severity

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_iam import IAMClient

_ASKED_SINGLY = 20  # a larger group is read in pages of the account's devices, without versions
_NEWEST_TOO_OLD = {"aws_nucleus_lite": (2, 3), "aws_nucleus_classic": (2, 1)}
_SYNONYMS = {"x86_64": "amd64", "arm64": "aarch64"}
_CREDENTIALS_SERVICE = "credentials.iot.amazonaws.com"
_MOST_INLINE = 10_240  # characters: IAM and STS quotas, a limit that AWS doesn't raise
_ALIAS = "the device's config.yaml names its iotRoleAlias; aws iot describe-role-alias its role"

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
    reason="Lite ends each startup script by systemd-notify --stopping, which systemd older than"
    " 253 (Debian 12 has 252) hasn't got: the check fails there, and no request says which it is",
    source="seen on Nucleus Lite 2.6.0, record lite-startup-systemd-252",
)
NUCLEUS_VERSION = Rule(
    name="nucleus-version",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="images as artifacts need the Java nucleus 2.1, and `runtime` in a manifest Lite 2.3",
    source="release notes of the Docker application manager and of Nucleus Lite",
)
TAKEN_OVER = Rule(
    name="taken-over",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="somebody else has deployed here since this stack did, and an up would undo that",
    source="Greengrass developer guide, manage deployments",
)
KEPT_GONE = Rule(
    name="kept-gone",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="it runs there and isn't ours, but no deployment can name it any more and so keep it",
    source="greengrassv2 DeleteComponent, CloudComponentState",
)
SHARED = Rule(
    name="shared-device",
    severity=Severity.WARNING,
    bites=Bites.BOTH,
    reason="a device does all its targets' deployments at once: it fails where they name two"
    " versions of a component, and keeps what any of them still names",
    source="Greengrass developer guide, deployments to several targets",
)
TOO_SLOW = Rule(
    name="too-slow",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="the update would be red before AWS has told enough devices of the release",
    source="AWS IoT Jobs, maximumPerMinute",
)
CHECK_TOO_LATE = Rule(
    name="check-too-late",
    severity=Severity.WARNING,
    bites=Bites.BOTH,
    reason="where answers are wrong, the update is red before the check on the device says so",
    source="Pulumi.yaml, check-timeout and rollout-timeout",
)
ROLE_MISSING = Rule(
    name="role-missing",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="the rights to read the release are given to a role that isn't there",
    source="IAM GetRole",
)
ROLE_TRUST = Rule(
    name="role-trust",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="no device gets credentials of a role that doesn't trust AWS IoT's credentials provider",
    source="Greengrass developer guide, token exchange role",
)
ROLE_RIGHTS = Rule(
    name="role-rights",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="the device couldn't download the release, even with the rights that this update adds",
    source="IAM SimulatePrincipalPolicy",
)
ROLE_FULL = Rule(
    name="role-full",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="all inline policies of a role have 10,240 characters together, and IAM would refuse"
    " ours in the middle of the update",
    source="IAM quotas, PutRolePolicy",
)
NOT_READABLE = Rule(
    name="not-readable",
    severity=Severity.WARNING,
    bites=Bites.BOTH,
    reason="what can't be read isn't checked, and shows only when the device tries",
    source="IAM, Greengrass",
)
RULES = (
    *(TAKEN_OVER, KEPT_GONE, SHARED, TOO_SLOW, CHECK_TOO_LATE),
    *(DEVICE_ARCHITECTURE, LITE_THING, LITE_SYSTEMD, NUCLEUS_VERSION),
    *(ROLE_MISSING, ROLE_TRUST, ROLE_RIGHTS, ROLE_FULL, NOT_READABLE),
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a device has to fit, and its role to read."""

    architectures: tuple[str, ...]
    objects: tuple[str, ...]  # ARNs
    repository: str  # ARN
    recipes: tuple[Mapping[str, Any], ...]  # none where another stack has published them

    @classmethod
    def of(cls, settings: Settings, context: Context, pinned: Record | None = None) -> Wanted:
        """This stack's release to come, or that of the stack it follows; Misconfigured without."""
        if pinned:
            return _published(pinned.outputs)
        return _upstream(settings, context) if settings.release_from else _own(settings, context)


@dataclass(frozen=True, kw_only=True)
class CoreDevice:
    """What a core device has said of itself; empty where it (or the listing) doesn't say."""

    thing: str
    architecture: str
    runtime: str
    version: str


def check_account(context: Context) -> None:
    """Misconfigured where boto3 would ask another account than Pulumi's providers work in.

    A provider may take a role by its own config, of which boto3 doesn't know.
    """
    try:
        account = context.clients.sts.get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise Misconfigured(f"AWS doesn't tell who asks it in {context.region}: {error}") from error
    if account != context.account:
        raise Misconfigured(
            f"Pulumi's providers work in account {context.account}, but what asks the devices has"
            f" credentials of account {account}. A role in the providers' config (aws:assumeRoles)"
            " is known to them alone: name it in a profile (role_arn, source_profile), then pulumi"
            " config set aws:profile NAME; pulumi config set aws-native:profile NAME"
        )


def check(
    settings: Settings,
    context: Context,
    target: Target | None,
    pinned: Record | None = None,
) -> None:
    """Tell and warn; Misconfigured, with every error at once, for what will go wrong."""
    found = findings(settings, context, target, pinned)
    for one in found:
        if one.rule.severity is Severity.WARNING:
            pulumi.log.warn(one.line)
        if one.rule.severity is Severity.INFO and one.rule in RULES:  # a recipe's: make lint
            pulumi.log.info(one.line)
    if errors := [one.line for one in found if one.rule.severity is Severity.ERROR]:
        raise Misconfigured("\n".join(["nothing was changed:", *errors]))


def findings(
    settings: Settings,
    context: Context,
    target: Target | None,
    pinned: Record | None = None,
) -> list[Finding]:
    """Everything that can be known before anything is made; reads only."""
    wanted, clients = Wanted.of(settings, context, pinned), context.clients
    found = [
        Finding(rule=one.rule, where=f"{given['ComponentName']}: {one.where}", fix=one.fix)
        for given in wanted.recipes
        for one in rules.findings(given)
    ]
    if target:
        found += _taken_over(settings, target)
        found += _carried_on(settings, context, target)
        found += _shared(clients.greengrass, target)
        found += _pace(settings, target)
        found += _patience(settings, wanted)
        found += _unfit_devices(settings, clients.greengrass, target, wanted)
        found += _role(settings, context, wanted)
    return found


def _own(settings: Settings, context: Context) -> Wanted:
    """The release to come: with a hash of zeros for each that isn't known yet, as long as it."""
    bucket, zeros = context.bucket, "0" * 64
    registry = f"{context.account}.dkr.ecr.{context.region}.amazonaws.com"
    files = {name: f"{bucket}/{zeros}/{name}" for one in recipe.FILES.values() for name in one}
    planned = content(
        settings,
        dict.fromkeys(settings.architectures, f"{registry}/{context.repository}@sha256:{zeros}"),
        {name: f"s3://{path}" for name, path in files.items()},
    )
    version = f"{settings.major}.999999.999999"
    return Wanted(
        architectures=settings.architectures,
        objects=tuple(context.arn("s3", path) for path in files.values()),
        repository=context.arn("ecr", f"repository/{context.repository}"),
        recipes=tuple(write(version, planned) for write in recipe.RECIPES.values()),
    )


def _upstream(settings: Settings, context: Context) -> Wanted:
    """What the followed stack has published; asked for at once, as a StackReference isn't."""
    stack = f"{pulumi.get_organization()}/{context.project}/{settings.release_from}"
    try:
        read = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": stack}).value
    except Exception as error:  # the SDK raises nothing narrower for a stack that isn't there
        raise _unpublished(settings.release_from, str(error)) from error
    outputs = read["outputs"]
    if "release" not in outputs:
        raise _unpublished(settings.release_from, "it has no such outputs")
    return _published(outputs)


def _unpublished(stack: str, why: str) -> Misconfigured:
    return Misconfigured(
        f"stack '{stack}' has published no release to follow ({why}):"
        f" pulumi up --stack {stack}, or pulumi config set release-from STACK"
    )


def _published(outputs: Mapping[str, Any]) -> Wanted:
    return Wanted(
        architectures=tuple(sorted(outputs["image"])),
        objects=tuple(outputs["objects"]),
        repository=outputs["repository_arn"],
        recipes=(),
    )


def _taken_over(settings: Settings, target: Target) -> Iterator[Finding]:
    if target.takeover and target.takeover.deployment.id != settings.override:
        yield Finding(
            rule=TAKEN_OVER,
            where=f"{target.arn.rpartition(':')[2]}, {target.takeover.summary}",
            fix=f"to undo it: pulumi up --config override={target.takeover.deployment.id}; who made"
            " it: aws cloudtrail lookup-events --lookup-attributes"
            " AttributeKey=EventName,AttributeValue=CreateDeployment",
        )


def _carried_on(settings: Settings, context: Context, target: Target) -> Iterator[Finding]:
    """The components of others that the new deployment would name, and the cloud wouldn't find."""
    for name, spec in target.carried_on(settings).items():
        version = spec["componentVersion"]
        try:
            why = _undeployable(context, name, version)
        except ClientError as error:
            yield _withheld(f"{name} {version}", error)
            continue
        if why:
            yield Finding(
                rule=KEPT_GONE,
                where=f"{name} {version} on {target.arn.rpartition(':')[2]}: {why}",
                fix="publish it again, or deploy what is to stay without it: aws greengrassv2"
                f" create-deployment --target-arn {target.arn} --components …; or take all"
                " components of others off: pulumi config set keep-components false",
            )


def _undeployable(context: Context, name: str, version: str) -> str:
    """Why a component version can't be deployed, empty where it can."""
    client = context.clients.greengrass
    owners = ("aws", context.account) if name.startswith("aws.") else (context.account,)
    for owner in owners:
        arn = replace(context, account=owner).component_arn(name, version)
        try:
            status = client.describe_component(arn=arn)["status"]
        except client.exceptions.ResourceNotFoundException:
            continue
        failed = status.get("componentState") == "FAILED"
        errors = [status.get("message", ""), *status.get("errors", {}).values()]
        return " ".join(["FAILED", *filter(None, errors)]) if failed else ""
    return "deleted"


def _shared(client: GreengrassV2Client, target: Target) -> Iterator[Finding]:
    """Other targets of these devices whose deployments name our components, too."""
    if len(target.devices) > _ASKED_SINGLY:
        return
    reached: dict[str, list[str]] = {}
    try:
        for device in target.devices:
            for arn in other_targets(client, device, target.arn):
                reached.setdefault(arn, []).append(device)
        for arn, devices in sorted(reached.items()):
            latest = latest_deployment(client, arn, ())
            if latest and latest.ours and not latest.failed:
                versions = ", ".join(f"{name} {one}" for name, one in latest.ours.items())
                yield Finding(
                    rule=SHARED,
                    where=f"{', '.join(devices)}, reached by {arn.rpartition(':')[2]} too, where"
                    f" '{latest.name}' deploys {versions}",
                    fix="one target for a device: take it out of the group, or deploy only there",
                )
    except ClientError as error:
        yield _withheld(f"what else is deployed to the devices of {target.arn}", error)


def _pace(settings: Settings, target: Target) -> Iterator[Finding]:
    """AWS tells so many devices a minute, beginning at once."""
    rate = settings.devices_per_minute
    needed = math.ceil(len(target.devices) * settings.quorum / 100)
    last = (needed - 1) // rate * 60 if rate else 0  # seconds until the last one hears of it
    if last >= settings.rollout_timeout:
        yield Finding(
            rule=TOO_SLOW,
            where=f"{needed} devices at {rate} a minute",
            fix=f"the last hears of it after {last} s: pulumi config set rollout-timeout"
            f" {last + 900}, or a higher devices-per-minute",
        )


def _patience(settings: Settings, wanted: Wanted) -> Iterator[Finding]:
    """A check that succeeds is quick, so no refusal; another stack's check has its own patience."""
    if wanted.recipes and settings.check_timeout >= settings.rollout_timeout:
        yield Finding(
            rule=CHECK_TOO_LATE,
            where=f"check-timeout {settings.check_timeout}, rollout-timeout"
            f" {settings.rollout_timeout}",
            fix=f"pulumi config set rollout-timeout {settings.check_timeout + 900}, or a lower"
            " check-timeout",
        )


def _unfit_devices(
    settings: Settings, client: GreengrassV2Client, target: Target, wanted: Wanted
) -> Iterator[Finding]:
    try:
        devices = _core_devices(client, target.devices)
    except ClientError as error:
        yield _withheld(target.arn, error)
        return
    if lite := sorted(one.thing for one in devices if one.runtime == "aws_nucleus_lite"):
        yield Finding(
            rule=LITE_SYSTEMD,
            where=", ".join(lite),
            fix="systemctl --version on the device; 253 or newer",
        )
    for device in devices:
        architecture = _SYNONYMS.get(device.architecture, device.architecture)
        if not architecture:
            fix = f"compare uname -m there with the release's {_words(wanted)}"
            yield Finding(rule=NOT_READABLE, where=f"{device.thing}'s architecture", fix=fix)
        elif architecture not in wanted.architectures:
            yield Finding(
                rule=DEVICE_ARCHITECTURE,
                where=f"{device.thing} ({architecture}; the release: {_words(wanted)})",
                fix=_another_architecture(settings, architecture),
            )
        if device.runtime == "aws_nucleus_lite" and settings.thing:
            yield Finding(
                rule=LITE_THING,
                where=device.thing,
                fix=f"aws iot add-thing-to-thing-group --thing-name {device.thing}"
                " --thing-group-name GROUP; pulumi config rm thing;"
                " pulumi config set thing-group GROUP",
            )
        least = _NEWEST_TOO_OLD.get(device.runtime or "aws_nucleus_classic", (0, 0))
        version = re.match(r"(\d+)\.(\d+)", device.version)
        if version and (int(version[1]), int(version[2])) < least:
            yield Finding(
                rule=NUCLEUS_VERSION,
                where=f"{device.thing} ({device.version})",
                fix=f"update it to {least[0]}.{least[1]} or newer",
            )


def _words(wanted: Wanted) -> str:
    return ", ".join(wanted.architectures)


def _another_architecture(settings: Settings, architecture: str) -> str:
    at = len(settings.architectures)
    stack = f" --stack {settings.release_from}" if settings.release_from else ""
    then = f"; pulumi up{stack}" if stack else ""
    return f"pulumi config set{stack} --path 'architectures[{at}]' {architecture}{then}"


def _core_devices(client: GreengrassV2Client, things: Sequence[str]) -> list[CoreDevice]:
    if len(things) <= _ASKED_SINGLY:
        said: list[Any] = [client.get_core_device(coreDeviceThingName=thing) for thing in things]
    else:
        wanted = frozenset(things)
        said = [one for one in core_devices(client) if one["coreDeviceThingName"] in wanted]
    return [
        CoreDevice(
            thing=one["coreDeviceThingName"],
            architecture=one.get("architecture", ""),
            runtime=one.get("runtime", ""),
            version=one.get("coreVersion", ""),
        )
        for one in said
    ]


def _role(settings: Settings, context: Context, wanted: Wanted) -> Iterator[Finding]:
    name, client = settings.device_role, context.clients.iam
    ours = policies.read_release(objects=wanted.objects, repository=wanted.repository)
    try:
        role = client.get_role(RoleName=name)["Role"]
    except client.exceptions.NoSuchEntityException:
        yield Finding(
            rule=ROLE_MISSING, where=name, fix=f"pulumi config set device-role ROLE ({_ALIAS})"
        )
        return
    except ClientError as error:
        yield _withheld(f"role {name}", error)
        return
    if not _trusts_credentials_service(role["AssumeRolePolicyDocument"]):
        yield Finding(
            rule=ROLE_TRUST,
            where=name,
            fix=f"let {_CREDENTIALS_SERVICE} do sts:AssumeRole in its trust policy, or pulumi"
            f" config set device-role ROLE ({_ALIAS})",
        )
    try:
        yield from _rights(name, role["Arn"], client, ours)
    except ClientError as error:
        yield _withheld(f"the rights of role {name}", error)
    try:
        yield from _room(name, client, context.policy, ours)
    except ClientError as error:
        yield _withheld(f"the inline policies of role {name}", error)


def _trusts_credentials_service(document: Any) -> bool:
    """Whether a trust policy lets the credentials provider assume the role; conditions apart."""
    return any(
        statement["Effect"] == "Allow"
        and {"sts:AssumeRole", "sts:*", "*"} & set(_several(statement.get("Action")))
        and any(
            str(service).startswith(_CREDENTIALS_SERVICE)
            for service in _several(statement.get("Principal", {}).get("Service"))
        )
        for statement in _several(document["Statement"])
        if isinstance(statement.get("Principal"), dict)
    )


def _several(value: Any) -> list[Any]:
    """IAM writes a list of one as the one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _rights(name: str, arn: str, client: IAMClient, ours: Mapping[str, Any]) -> Iterator[Finding]:
    """Ask IAM what the role may do once it has our policy: boundaries and denials count."""
    simulator = client.get_paginator("simulate_principal_policy")
    for statement in ours["Statement"]:
        pages = simulator.paginate(
            PolicySourceArn=arn,
            ActionNames=_several(statement["Action"]),
            ResourceArns=_several(statement["Resource"]),
            PolicyInputList=[json.dumps(ours)],
        )
        decided = {  # one resource stands for all of which IAM says the same
            (one["EvalActionName"], one["EvalDecision"]): one
            for page in pages
            for one in page["EvaluationResults"]
        }
        for result in decided.values():
            where = f"{name} ({result['EvalActionName']}: {result['EvalDecision']})"
            if result["EvalDecision"] == "allowed":
                continue
            if unknown := result.get("MissingContextValues"):  # conditions: the answer may differ
                fix = f"look at the role's conditions on {', '.join(unknown)}"
                yield Finding(rule=NOT_READABLE, where=where, fix=fix)
            else:
                yield Finding(rule=ROLE_RIGHTS, where=where, fix=_lift(result))


def _room(name: str, client: IAMClient, policy: str, ours: Mapping[str, Any]) -> Iterator[Finding]:
    """Count the role's inline policies as they will be, ours in place of its old one."""
    pages = client.get_paginator("list_role_policies").paginate(RoleName=name)
    sizes = {
        one: _size(client.get_role_policy(RoleName=name, PolicyName=one)["PolicyDocument"])
        for page in pages
        for one in page["PolicyNames"]
        if one != policy
    } | {policy: _size(ours)}
    if (total := sum(sizes.values())) > _MOST_INLINE:
        listed = ", ".join(f"{one} {size:,}" for one, size in sorted(sizes.items()))
        yield Finding(
            rule=ROLE_FULL,
            where=f"{name} ({total:,} with ours: {listed})",
            fix="destroy a stack that isn't needed any more, or give these devices a role of their"
            f" own: pulumi config set device-role ROLE ({_ALIAS})",
        )


def _size(document: Any) -> int:
    """White space doesn't count."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False))


def _lift(result: Mapping[str, Any]) -> str:
    """Which kind of policy stands in the way."""
    resource = result.get("EvalResourceName", "*")
    if not result.get("PermissionsBoundaryDecisionDetail", {}).get(
        "AllowedByPermissionsBoundary", True
    ):
        return f"allow it on {resource} in the role's permissions boundary"
    if not result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True):
        return f"ask who keeps the organization's policies to allow it on {resource}"
    blockers = sorted({one["SourcePolicyId"] for one in result.get("MatchedStatements", [])})
    return f"remove the denial of {resource} from {', '.join(blockers) or 'the role'}"


def _withheld(where: str, error: ClientError) -> Finding:
    code = error.response["Error"]["Code"]
    return Finding(
        rule=NOT_READABLE,
        where=where,
        fix=f"allow {error.operation_name} to whoever runs this, or ignore it ({code})",
    )
