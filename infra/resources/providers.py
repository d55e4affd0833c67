"""The AWS providers. Both take account, region and login from the stack's one Context.

Pulumi.yaml turns their default providers off, so a resource without one of these fails. The Docker
provider stays the default one. An explicit provider would keep this machine's DOCKER_HOST in the
state, and a destroy on another machine would read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_aws_native as native

from infra.account.context import Context
from infra.settings import Misconfigured


@dataclass(frozen=True, kw_only=True)
class Providers:
    """AWS by Terraform's resources, and AWS by Cloud Control."""

    aws: aws.Provider
    native: native.Provider
    after: pulumi.Resource

    @classmethod
    def of(cls, context: Context, *, after: pulumi.Resource) -> Providers:
        """Make both. Raises Misconfigured if a plugin has another account or region than boto3."""
        # Without these values, the SDK would put AWS_PROFILE and AWS_SHARED_CREDENTIALS_FILE of
        # this shell into the state. An output of None counts as a value, and isn't stored.
        opts = pulumi.ResourceOptions(depends_on=[after])
        nothing: Any = pulumi.Output.from_input(None)
        role, tags = context.assumed, context.default_tags
        both = cls(
            aws=aws.Provider(
                "aws",
                region=context.region,
                profile=context.profile,
                assume_roles=[
                    aws.ProviderAssumeRoleArgs(
                        role_arn=role.arn, external_id=role.external_id, session_name=role.session
                    )
                ]
                if role
                else None,
                default_tags=aws.ProviderDefaultTagsArgs(tags=tags) if tags else None,
                opts=opts,
            ),
            native=native.Provider(
                "aws-native",
                region=context.region,
                profile=context.profile or nothing,
                shared_credentials_file=nothing,
                assume_role=native.ProviderAssumeRoleArgs(
                    role_arn=role.arn, external_id=role.external_id, session_name=role.session
                )
                if role
                else None,
                default_tags=native.ProviderDefaultTagsArgs(tags=tags) if tags else None,
                opts=opts,
            ),
            after=after,
        )
        both._check(context)
        return both

    @property
    def options(self) -> pulumi.ResourceOptions:
        """A component's options: made after `after`, with these providers for its children."""
        return pulumi.ResourceOptions(depends_on=[self.after], providers=[self.aws, self.native])

    def _check(self, context: Context) -> None:
        """Compare the plugins' logins with boto3's: each plugin reads environment and AWS files."""
        of_aws = pulumi.InvokeOptions(provider=self.aws)
        of_native = pulumi.InvokeOptions(provider=self.native)
        told = {
            "aws": (
                aws.get_caller_identity(opts=of_aws).account_id,
                aws.get_region(opts=of_aws).region,
            ),
            "aws-native": (
                native.get_account_id(opts=of_native).account_id,
                native.get_region(opts=of_native).region,
            ),
        }
        for name, (account, region) in told.items():
            if (account, region) != (context.account, context.region):
                raise Misconfigured(
                    f"the {name} provider works in account {account}, {region}, but boto3, which"
                    f" asks the devices, in account {context.account}, {context.region}.",
                    "They found different logins. Name the profile for both:",
                    "pulumi config set aws:profile NAME",
                )
