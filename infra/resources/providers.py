"""The providers, made from the stack's one Context: neither has a place or a login of its own.

Pulumi.yaml turns their default providers off, so a resource that is given neither of these fails.
The Docker provider stays the default one: an explicit one would keep this machine's DOCKER_HOST in
the state, from where the destroy of another machine would read it.
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
        """Misconfigured where a plugin works elsewhere, or as somebody else, than boto3 does."""
        # The SDK would put AWS_PROFILE and AWS_SHARED_CREDENTIALS_FILE of this shell into the state
        # where nothing else is given. An output of nothing is something, and is left out.
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
        """Of a component: made after `after`, its children by the provider of their package."""
        return pulumi.ResourceOptions(depends_on=[self.after], providers=[self.aws, self.native])

    def _check(self, context: Context) -> None:
        """Each reads the environment and AWS' files by itself, and may find another login."""
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
                    f" asks the devices, in account {context.account}, {context.region}. They found"
                    " different logins. Name one: pulumi config set aws:profile NAME"
                )
