"""The two roles of GitHub's workflows, as functions from names to policy documents.

Every pull request uses role Read, so everyone who can push a branch has its rights. Only jobs in
the environment use role Deploy, after the environment's own rules (reviewers, branch). Neither has
a key: GitHub issues an OIDC token for the job.

If AWS can limit an action to a resource, it is limited to this project's resources. Otherwise it
has a `*`. AWS's Service Authorization Reference says which actions can be limited.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from infra.account.logs import log_group
from infra.names import DEFAULT_NAMES, Names

_VERSION = "2012-10-17"
ISSUER = "token.actions.githubusercontent.com"
BRANCH, ENVIRONMENT = "main", "production"  # The same as in the workflows.

Statement = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The names that the roles' rights are limited to, from this project's stacks."""

    project: str
    partition: str
    account: str
    regions: tuple[str, ...]
    things: tuple[str, ...]
    groups: tuple[str, ...]
    device_roles: tuple[str, ...]
    state_bucket: str
    state_key: str  # The ARN of the KMS key behind the stacks' secrets.
    prefixes: tuple[str, ...] = (DEFAULT_NAMES.prefix,)  # The prefixes of the stacks' components.

    def arns(self, service: str, names: Iterable[str]) -> list[str]:
        """The ARN of each name in each region."""
        return sorted(
            f"arn:{self.partition}:{service}:{region}:{self.account}:{name}"
            for region in self.regions
            for name in names
        )

    @property
    def buckets(self) -> list[str]:
        """The stacks' buckets (infra/account/context.py), without the state's bucket."""
        return [
            f"arn:{self.partition}:s3:::{self.project}-*-{self.account}-{region}"
            for region in sorted(self.regions)
        ]

    @property
    def components(self) -> list[str]:
        return [name for one in self.prefixes for name in Names(prefix=one).components]

    @property
    def repositories(self) -> list[str]:
        return self.arns("ecr", [f"repository/{self.project}/*"])

    @property
    def provided(self) -> list[str]:
        """The components that AWS itself provides."""
        return [
            f"arn:{self.partition}:greengrass:{region}:aws:components:*:versions:*"
            for region in sorted(self.regions)
        ]

    @property
    def roles(self) -> list[str]:
        return sorted(
            f"arn:{self.partition}:iam::{self.account}:role/{name}" for name in self.device_roles
        )

    @property
    def state(self) -> str:
        return f"arn:{self.partition}:s3:::{self.state_bucket}"

    @property
    def devices(self) -> list[str]:
        """The core devices' names; `*` for groups, whose members change outside this project."""
        return ["*"] if self.groups else list(self.things)


def read(scope: Scope) -> dict[str, Any]:
    """The reads of preview, plan and status. They change nothing."""
    return _document(_looking(scope))


def deploy(scope: Scope) -> dict[str, Any]:
    """The further rights of an `up` and a `destroy`, limited to this project's names."""
    return _document([*_looking(scope), *_changing(scope)])


def trust(*, provider: str, repository: str, subjects: Sequence[str]) -> dict[str, Any]:
    """Let jobs of this repository assume the role if their token's subject is one of these.

    A subject is the part after the repository's name, compared in full. See
    https://docs.github.com/en/actions/reference/security/oidc
    """
    return _document(
        [
            {
                "Effect": "Allow",
                "Principal": {"Federated": provider},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {
                        f"{ISSUER}:aud": "sts.amazonaws.com",
                        f"{ISSUER}:sub": [f"repo:{repository}:{one}" for one in sorted(subjects)],
                    }
                },
            }
        ]
    )


def template(scope: Scope, *, repository: str) -> dict[str, Any]:
    """A CloudFormation template with both roles, for an administrator to deploy."""
    provider = f"arn:{scope.partition}:iam::{scope.account}:oidc-provider/{ISSUER}"
    looking = ("pull_request", f"ref:refs/heads/{BRANCH}")
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"The roles that the workflows of {repository} take",
        "Resources": {
            "Read": _role(
                f"{scope.project}-ci-read",
                read(scope),
                trust(provider=provider, repository=repository, subjects=looking),
            ),
            "Deploy": _role(
                f"{scope.project}-ci-deploy",
                deploy(scope),
                trust(
                    provider=provider,
                    repository=repository,
                    subjects=[f"environment:{ENVIRONMENT}"],
                ),
            ),
        },
        "Outputs": {name: {"Value": {"Fn::GetAtt": [name, "Arn"]}} for name in ("Read", "Deploy")},
    }


def _role(name: str, policy: dict[str, Any], trusted: dict[str, Any]) -> dict[str, Any]:
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": name,
            "MaxSessionDuration": 7200,  # In seconds: an `up` waits for devices (rollout-timeout).
            "AssumeRolePolicyDocument": trusted,
            "Policies": [{"PolicyName": "project", "PolicyDocument": policy}],
        },
    }


def _document(statements: Iterable[Statement]) -> dict[str, Any]:
    return {"Version": _VERSION, "Statement": list(statements)}


def _allow(sid: str, actions: str, resources: Sequence[str]) -> list[Statement]:
    """A statement, or none without resources, because IAM would refuse it."""
    if not resources:
        return []
    words = sorted(actions.split())
    return [{"Sid": sid, "Effect": "Allow", "Action": words, "Resource": list(resources)}]


def _looking(scope: Scope) -> list[Statement]:
    things = scope.arns("iot", [f"thing/{name}" for name in scope.devices])
    groups = [
        f"log-group:{log_group(region, component)}"
        for region in scope.regions
        for component in scope.components
    ]
    return [
        *_allow("StateList", "s3:ListBucket", [scope.state]),
        *_allow("StateRead", "s3:GetObject", [f"{scope.state}/.pulumi/*"]),
        *_allow("StateSecrets", "kms:Decrypt", [scope.state_key]),
        *_allow(
            "Everywhere",
            "ecr:GetAuthorizationToken greengrass:ListDeployments greengrass:ListCoreDevices"
            " cloudformation:GetResource cloudformation:GetResourceRequestStatus",
            ["*"],
        ),
        *_allow(
            "Bucket",
            "s3:GetAccelerateConfiguration s3:GetBucketAcl s3:GetBucketCORS s3:GetBucketLocation"
            " s3:GetBucketLogging s3:GetBucketObjectLockConfiguration s3:GetBucketOwnershipControls"
            " s3:GetBucketPolicy s3:GetBucketPublicAccessBlock s3:GetBucketRequestPayment"
            " s3:GetBucketTagging s3:GetBucketVersioning s3:GetBucketWebsite"
            " s3:GetEncryptionConfiguration s3:GetLifecycleConfiguration"
            " s3:GetReplicationConfiguration s3:ListBucket s3:ListBucketVersions",
            scope.buckets,
        ),
        *_allow(
            "Objects",
            "s3:GetObject s3:GetObjectTagging",
            [f"{bucket}/*" for bucket in scope.buckets],
        ),
        *_allow(
            "Images",
            "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:DescribeImageScanFindings"
            " ecr:DescribeImages ecr:DescribeRepositories ecr:GetDownloadUrlForLayer"
            " ecr:GetLifecyclePolicy ecr:ListImages ecr:ListTagsForResource",
            scope.repositories,
        ),
        *_allow(
            "DeviceRole",
            "iam:GetRole iam:GetRolePolicy iam:ListRolePolicies iam:ListAttachedRolePolicies"
            " iam:SimulatePrincipalPolicy",
            scope.roles,
        ),
        # Others' components on our devices count too: a plan says what stays, and whether it can.
        *_allow(
            "Components",
            "greengrass:DescribeComponent greengrass:GetComponent greengrass:ListTagsForResource",
            scope.arns("greengrass", ["components:*:versions:*"]),
        ),
        *_allow("ProvidedComponents", "greengrass:DescribeComponent", scope.provided),
        *_allow(
            "ComponentVersions",
            "greengrass:ListComponentVersions",
            scope.arns("greengrass", ["components:*"]),
        ),
        *_allow(
            "Deployments",
            "greengrass:GetDeployment greengrass:ListTagsForResource",
            scope.arns("greengrass", ["deployments:*"]),
        ),
        *_allow(
            "Devices",
            "greengrass:GetCoreDevice greengrass:ListEffectiveDeployments"
            " greengrass:ListInstalledComponents",
            scope.arns("greengrass", [f"coreDevices:{name}" for name in scope.devices]),
        ),
        *_allow("Things", "iot:DescribeThing iot:GetThingShadow iot:DescribeJobExecution", things),
        *_allow(
            "Groups",
            "iot:DescribeThingGroup iot:ListThingsInThingGroup",
            scope.arns("iot", [f"thinggroup/{name}" for name in scope.groups]),
        ),
        *_allow(
            "Jobs",
            "iot:DescribeJob iot:DescribeJobExecution",
            scope.arns("iot", ["job/*"]),
        ),
        *_allow(
            "Logs",
            "logs:GetLogEvents",
            scope.arns("logs", [f"{group}:log-stream:*" for group in groups]),
        ),
    ]


def _changing(scope: Scope) -> list[Statement]:
    ours = scope.arns("greengrass", [f"components:{name}" for name in scope.components])
    versions = [f"{component}:versions:*" for component in ours]
    return [
        *_allow("StateWrite", "s3:DeleteObject s3:PutObject", [f"{scope.state}/.pulumi/*"]),
        *_allow("StateNewSecrets", "kms:Encrypt", [scope.state_key]),
        *_allow(
            "BucketChange",
            "s3:CreateBucket s3:DeleteBucket s3:DeleteBucketPolicy s3:PutBucketOwnershipControls"
            " s3:PutBucketPolicy s3:PutBucketPublicAccessBlock s3:PutBucketTagging"
            " s3:PutEncryptionConfiguration",
            scope.buckets,
        ),
        *_allow(
            "ObjectsChange",
            "s3:DeleteObject s3:DeleteObjectVersion s3:PutObject s3:PutObjectTagging",
            [f"{bucket}/*" for bucket in scope.buckets],
        ),
        *_allow(
            "ImagesChange",
            "ecr:BatchDeleteImage ecr:CompleteLayerUpload ecr:CreateRepository"
            " ecr:DeleteLifecyclePolicy ecr:DeleteRepository ecr:InitiateLayerUpload ecr:PutImage"
            " ecr:PutImageScanningConfiguration ecr:PutImageTagMutability ecr:PutLifecyclePolicy"
            " ecr:TagResource ecr:UntagResource ecr:UploadLayerPart",
            scope.repositories,
        ),
        *_allow("DeviceRoleChange", "iam:DeleteRolePolicy iam:PutRolePolicy", scope.roles),
        # The provider aws-native uses Cloud Control, which makes each call with the caller's
        # rights.
        *_allow(
            "EverywhereChange",
            "cloudformation:CreateResource cloudformation:DeleteResource"
            " cloudformation:UpdateResource greengrass:CreateDeployment",
            ["*"],
        ),
        *_allow("ComponentsCreate", "greengrass:CreateComponentVersion", ours),
        *_allow("ComponentsDelete", "greengrass:DeleteComponent", versions),
        *_allow(
            "DeploymentsChange",
            "greengrass:CancelDeployment greengrass:DeleteDeployment",
            scope.arns("greengrass", ["deployments:*"]),
        ),
        *_allow(
            "Tags",
            "greengrass:TagResource greengrass:UntagResource",
            [*versions, *scope.arns("greengrass", ["deployments:*"])],
        ),
        # These limit the targets of a deployment, because Greengrass checks them itself.
        *_allow(
            "TargetThings",
            "iot:DeleteThingShadow iot:UpdateThingShadow",
            scope.arns("iot", [f"thing/{name}" for name in scope.things]),
        ),
        *_allow(
            "TargetJobs",
            "iot:CancelJob iot:CreateJob iot:DeleteJob iot:UpdateJob",
            scope.arns("iot", ["job/*"]),
        ),
        *_allow(
            "Targets",
            "iot:CreateJob",
            scope.arns(
                "iot",
                [
                    *(f"thing/{name}" for name in scope.things),
                    *(f"thinggroup/{name}" for name in scope.groups),
                ],
            ),
        ),
    ]
