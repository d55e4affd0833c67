"""The account, region and identity that the program works with, and the names of its resources.

Names of cloud resources are made from stack and account alone, because a preview has to know them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import pulumi
from botocore.exceptions import BotoCoreError, ClientError

from infra.account.clients import Clients, Role, shared
from infra.account.login import Login
from infra.deployment_names import DeploymentName
from infra.names import DEFAULT_NAMES, PREFIX_TAG, PROJECT_TAG, STACK_TAG, Names
from infra.settings import Misconfigured

if TYPE_CHECKING:
    from mypy_boto3_sts.type_defs import GetCallerIdentityResponseTypeDef

_LONGEST_BUCKET = 63  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_OWNED_BY_PATH = ("s3",)  # ARNs of these services have neither region nor account.


@dataclass(frozen=True, kw_only=True)
class Context:
    """A stack of a project in a region of an account."""

    account: str
    region: str
    partition: str
    profile: str | None
    project: str
    stack: str
    component_prefix: str = DEFAULT_NAMES.prefix
    assumed: Role | None = None
    default_tags: Mapping[str, str] | None = None  # The tags of `aws:defaultTags`.

    @classmethod
    def find(cls, component_prefix: str) -> Context:
        """Ask AWS which account the config leads to. Raises Misconfigured for a name too long."""
        given = pulumi.runtime.config.CONFIG.get()
        login = Login.of(given, os.environ, pulumi.get_stack())
        clients = shared(login.region, login.profile, login.role)
        try:
            caller = clients.sts.get_caller_identity()
        except (BotoCoreError, ClientError) as error:
            raise Misconfigured(
                f"AWS doesn't say whose credentials these are (region {login.region}).",
                f"{error}",
                "aws sts get-caller-identity",
            ) from error
        found = cls.of(
            login,
            caller,
            project=pulumi.get_project(),
            stack=pulumi.get_stack(),
            component_prefix=component_prefix,
        )
        _ = found.bucket  # It refuses a name that is too long before anything is made.
        return found

    @classmethod
    def of(
        cls,
        login: Login,
        caller: GetCallerIdentityResponseTypeDef,
        *,
        project: str,
        stack: str,
        component_prefix: str,
    ) -> Context:
        """A stack's context, from its config and AWS's answer about the account."""
        return cls(
            account=caller["Account"],
            region=login.region,
            partition=caller["Arn"].split(":")[1],
            profile=login.profile,
            assumed=login.role,
            default_tags=login.default_tags,
            project=project,
            stack=stack,
            component_prefix=component_prefix,
        )

    @classmethod
    def of_target(cls, arn: str, clients: Clients, *, project: str, stack: str) -> Context:
        """The context of a stack of the default prefix that deploys to this target."""
        _, partition, _, region, account, *_ = arn.split(":")
        return cls(
            account=account,
            region=region,
            partition=partition,
            profile=clients.profile,
            assumed=clients.role,
            project=project,
            stack=stack,
        )

    @classmethod
    def remembered(cls, props: Mapping[str, Any]) -> Context:
        """The context of a dynamic resource, from its properties in the state."""
        known: dict[str, Any] = {
            one.name: props[one.name] for one in fields(cls) if one.name in props
        }
        role = known.pop("assumed", None)
        return cls(**{"profile": None, **known}, assumed=Role(**role) if role else None)

    @property
    def props(self) -> dict[str, Any]:
        """The properties that the state of a dynamic resource keeps."""
        return asdict(self)

    @property
    def clients(self) -> Clients:
        """boto3's clients. The whole process shares them."""
        return shared(self.region, self.profile, self.assumed)

    def arn(self, service: str, resource: str) -> str:
        where = ":" if service in _OWNED_BY_PATH else f"{self.region}:{self.account}"
        return f"arn:{self.partition}:{service}:{where}:{resource}"

    def component_arn(self, component: str, version: str = "") -> str:
        """A component's ARN, or that of one version of it."""
        at = f":versions:{version}" if version else ""
        return self.arn("greengrass", f"components:{component}{at}")

    @property
    def names(self) -> Names:
        return Names(prefix=self.component_prefix)

    @property
    def deployment_name(self) -> DeploymentName:
        return DeploymentName(project=self.project, stack=self.stack)

    @property
    def tags(self) -> dict[str, str]:
        """The tags of this stack's resources. Leftovers are recognised by them."""
        tags = {PROJECT_TAG: self.project, STACK_TAG: self.stack}
        if self.names != DEFAULT_NAMES:
            tags[PREFIX_TAG] = self.component_prefix
        return tags

    @property
    def deployment_tags(self) -> dict[str, str]:
        """The tags of a deployment that no provider makes. An account may demand default tags."""
        return {**(self.default_tags or {}), **self.tags}

    @property
    def repository(self) -> str:
        return f"{self.project}/{self.stack}"

    @property
    def policy(self) -> str:
        """The name of the stack's one inline policy of the devices' role."""
        return f"{self.project}-{self.stack}"

    @property
    def bucket(self) -> str:
        return self.bucket_of(self.stack)

    def bucket_of(self, stack: str) -> str:
        """The bucket of a stack of this project. Raises Misconfigured if S3 refuses the name."""
        name = f"{self.project}-{stack}-{self.account}-{self.region}"
        if (more := len(name) - _LONGEST_BUCKET) > 0:
            raise Misconfigured(
                f"the bucket of stack '{stack}' would be {name}, with {len(name)} characters.",
                f"S3 takes {_LONGEST_BUCKET}, and a name that is cut could be another stack's."
                f" Shorten the stack's name, or the project's in Pulumi.yaml, by {more}:",
                "pulumi stack init NAME",
            )
        return name
