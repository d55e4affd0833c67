"""A release on a target: read rights, deployment, and the wait for the devices' answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_aws as aws
from botocore.exceptions import ClientError
from pulumi_aws_native import greengrassv2

from infra import policies
from infra.account.context import Context
from infra.account.target import Target, latest_deployment
from infra.dynamic import Answering, CleanDevices
from infra.errors import RolloutFailed
from infra.publish import already_there
from infra.resources.release import Release
from infra.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2.type_defs import DeploymentPoliciesTypeDef

_VERSION = re.compile(r"\d+\.\d+\.\d+")


# If one of these inputs changes, or the target does, it is another deployment.
_MADE = ["components", "deploymentName", "deploymentPolicies", "iotJobConfiguration"]


class Rollout(pulumi.ComponentResource):
    """A release on a target, complete only when it answers there."""

    answers: Answering  # Its `deployment` is known once the devices answer.

    def __init__(
        self,
        name: str,
        *,
        release: Release,
        target: Target,
        settings: Settings,
        context: Context,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("edge:rollout:Rollout", name, None, opts)
        readable = pulumi.Output.json_dumps(
            pulumi.Output.all(objects=release.objects, repository=release.repository_arn).apply(
                lambda arns: policies.read_release(**arns)
            )
        )
        rights = aws.iam.RolePolicy(
            f"{name}-rights",
            name=context.policy,
            role=settings.device_role,
            policy=readable,
            opts=pulumi.ResourceOptions(parent=self),
        )
        others = target.carried_on(settings)
        carried_on = target.is_carried_on(context.deployment_name, release.components)
        for component, spec in sorted(others.items()):
            pulumi.log.info(f"keeps {component} {spec['componentVersion']} on {target.arn}")
        if theirs := target.policies_of_others(settings):
            pulumi.log.info(f"keeps the deployment policies of others on {target.arn}: {theirs}")
        where = context.props | {
            "target": target.arn,
            "devices": list(target.devices),
            "timeout": settings.rollout_timeout,
        }
        clean = CleanDevices(
            where | {"components": release.registered},
            # A destroy deletes these after it, because a device that isn't clean may need them.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[rights]),
        )
        deployment = greengrassv2.Deployment(
            f"{name}-deployment",
            target_arn=target.arn,
            deployment_name=_deployment_name(target, context, release.components),
            components=_components(release, others),
            deployment_policies=_policies(theirs) if theirs else None,
            iot_job_configuration=_job(settings),
            tags=context.tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                # While another stack has the latest deployment, this stack's own last one stays.
                ignore_changes=_MADE if carried_on else None,
                delete_before_replace=False,  # The device must always have a deployment.
                # No output of theirs says that devices may read, or that a destroy will clean them.
                depends_on=[rights, clean],
                deleted_with=clean,  # It reads from the deployment which components of others stay.
                hooks=pulumi.ResourceHookBinding(
                    before_create=[
                        _refuse_missing(f"{name}-missing-versions", context),
                        already_there.hook(
                            f"{name}-unchanged-target",
                            partial(check_unchanged, target, context),
                        ),
                    ]
                ),
            ),
        )
        self.answers = Answering(
            f"{name}-answering",
            where
            | {
                "deployment": deployment.deployment_id,
                # These are known at preview, unlike the registered ones.
                "components": release.components,
                "latest": target.latest.id if target.latest else "",
                "role": settings.device_role,
                "rights": readable,
                "quorum": settings.quorum,
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _components(release: Release, others: Mapping[str, Any]) -> dict[str, Any]:
    """The deployment's components by name: others' as they are, then the release's."""
    spec = greengrassv2.DeploymentComponentDeploymentSpecificationArgs
    # A Java nucleus keeps an older version's rights, unless they are reset.
    update = greengrassv2.DeploymentComponentConfigurationUpdateArgs(reset=["/accessControl"])
    return {
        **{component: _spec(known) for component, known in others.items()},
        **{  # The versions are as registered, so the deployment waits for them.
            component: spec(component_version=version, configuration_update=update)
            for component, version in release.registered.items()
        },
    }


def _deployment_name(target: Target, context: Context, planned: Mapping[str, str]) -> str:
    """The deployment's name. Prints why a deployment is made if the account differs."""
    own = context.deployment_name
    latest = target.latest
    if latest and latest.by_stack(context) and not latest.failed:
        has = latest.ours(target.names)
        if changed := [name for name, version in planned.items() if has.get(name) != version]:
            pulumi.log.info(
                f"deploys {', '.join(changed)}: not the versions of this stack's last deployment"
            )
    elif reasons := target.reasons_to_deploy(own, planned):
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        pulumi.log.info(f"deploys, as {reasons[0]}{more}")
    return target.deployment_name(own, planned)


def check_unchanged(target: Target, context: Context) -> None:
    """Raise RolloutFailed if someone has deployed to the target since it was looked up.

    A build may take minutes in between, and a deployment of that time would be lost silently.
    Deployments by this stack don't count: a killed update's request may have come late.
    """
    now = latest_deployment(context.clients.greengrass, target.arn)
    known = target.latest.id if target.latest else ""
    if now and now.id != known and not now.by_stack(context):
        raise RolloutFailed(
            f"nothing was deployed: {target.arn} has got deployment {now.maker} since this update"
            " looked.",
            "It would have been overwritten. The next update looks again:",
            "pulumi up",
        )


def _refuse_missing(name: str, context: Context) -> pulumi.ResourceHook:
    """Refuse, also in a preview, to deploy versions that only Pulumi's state has."""

    async def run(args: pulumi.ResourceHookArgs) -> None:
        await asyncio.to_thread(check_there, context, (args.new_inputs or {})["components"])

    return pulumi.ResourceHook(name, run, opts=pulumi.ResourceHookOptions(on_dry_run=True))


def check_there(context: Context, components: Mapping[str, Any]) -> None:
    """Raise RolloutFailed if the account lacks one of our component versions.

    `components` are a deployment's, as the API takes them. A preview doesn't know versions that
    will be made.
    """
    client, missing = context.clients.greengrass, []
    for name in context.names.components:
        version = components.get(name, {}).get("componentVersion")
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            continue
        try:
            client.describe_component(arn=context.component_arn(name, version))
        except client.exceptions.ResourceNotFoundException:
            missing.append(f"{name} {version}")
        except ClientError:  # A person who may deploy need not have every read right.
            continue
    if missing:
        raise RolloutFailed(
            f"nothing was deployed: this account has no {', '.join(missing)}.",
            "Pulumi's state or a release's record has it, so somebody has deleted it. Make it"
            " again, in the stack that publishes the release:",
            "pulumi up --refresh",
        )


def _job(settings: Settings) -> greengrassv2.DeploymentIoTJobConfigurationArgs | None:
    """The limits of the AWS IoT job of a group; None without limits, as for a thing."""
    rate, percent = settings.devices_per_minute, settings.abort_percent
    minutes = settings.device_timeout
    if not (rate or percent or minutes):
        return None
    stop = greengrassv2.DeploymentIoTJobAbortCriteriaArgs(
        action=greengrassv2.DeploymentIoTJobAbortCriteriaAction.CANCEL,
        failure_type=greengrassv2.DeploymentIoTJobAbortCriteriaFailureType.ALL,
        min_number_of_executed_things=1,  # The first device is the canary.
        threshold_percentage=percent,
    )
    return greengrassv2.DeploymentIoTJobConfigurationArgs(
        job_executions_rollout_config=greengrassv2.DeploymentIoTJobExecutionsRolloutConfigArgs(
            maximum_per_minute=rate
        )
        if rate
        else None,
        abort_config=greengrassv2.DeploymentIoTJobAbortConfigArgs(criteria_list=[stop])
        if percent
        else None,
        timeout_config=greengrassv2.DeploymentIoTJobTimeoutConfigArgs(
            in_progress_timeout_in_minutes=minutes
        )
        if minutes
        else None,
    )


def _policies(theirs: DeploymentPoliciesTypeDef) -> greengrassv2.DeploymentPoliciesArgs:
    """Others' deployment policies, from the API's form to Pulumi's."""
    update = theirs.get("componentUpdatePolicy", {})
    validation = theirs.get("configurationValidationPolicy", {})
    failure = theirs.get("failureHandlingPolicy")
    return greengrassv2.DeploymentPoliciesArgs(
        failure_handling_policy=greengrassv2.DeploymentPoliciesFailureHandlingPolicy(failure)
        if failure
        else None,
        component_update_policy=greengrassv2.DeploymentComponentUpdatePolicyArgs(
            action=greengrassv2.DeploymentComponentUpdatePolicyAction(update["action"])
            if "action" in update
            else None,
            timeout_in_seconds=update.get("timeoutInSeconds"),
        )
        if update
        else None,
        configuration_validation_policy=(
            greengrassv2.DeploymentConfigurationValidationPolicyArgs(
                timeout_in_seconds=validation.get("timeoutInSeconds")
            )
            if validation
            else None
        ),
    )


def _spec(known: Mapping[str, Any]) -> Any:
    """A component of others, from the API's form to Pulumi's."""
    update, run = known.get("configurationUpdate"), known.get("runWith")
    limits = run.get("systemResourceLimits") if run else None
    return greengrassv2.DeploymentComponentDeploymentSpecificationArgs(
        component_version=known["componentVersion"],
        configuration_update=greengrassv2.DeploymentComponentConfigurationUpdateArgs(**update)
        if update
        else None,
        run_with=greengrassv2.DeploymentComponentRunWithArgs(
            posix_user=run.get("posixUser"),
            windows_user=run.get("windowsUser"),
            system_resource_limits=greengrassv2.DeploymentSystemResourceLimitsArgs(**limits)
            if limits
            else None,
        )
        if run
        else None,
    )
