"""A minimal release that uses every resource type once."""

import json

import pulumi
import pulumi_aws as aws
import pulumi_docker as docker
from pulumi_aws_native import greengrassv2

config = pulumi.Config()
suffix = config.require("suffix")

bucket = aws.s3.Bucket("artifacts", bucket=f"small-{suffix}", force_destroy=True, tags={"a": "b"})
aws.s3.BucketPublicAccessBlock("closed", bucket=bucket.bucket, block_public_acls=True)
aws.s3.BucketOwnershipControls(
    "owned", bucket=bucket.bucket, rule={"object_ownership": "BucketOwnerEnforced"}
)
aws.s3.BucketServerSideEncryptionConfiguration(
    "encrypted",
    bucket=bucket.bucket,
    rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
)
aws.s3.BucketPolicy(
    "tls",
    bucket=bucket.bucket,
    policy=pulumi.Output.json_dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [bucket.arn, pulumi.Output.concat(bucket.arn, "/*")],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ],
        }
    ),
)
model = aws.s3.BucketObjectv2(
    "model", bucket=bucket.bucket, key="model.json", source=pulumi.FileAsset("model.json")
)
text = aws.s3.BucketObjectv2(
    "golden", bucket=bucket.bucket, key="golden.json", source=pulumi.StringAsset("[1.5]")
)

repository = aws.ecr.Repository(
    "images", name=f"small/{suffix}", image_tag_mutability="IMMUTABLE", force_delete=True
)
aws.ecr.LifecyclePolicy(
    "kept",
    repository=repository.name,
    policy=json.dumps(
        {
            "rules": [
                {
                    "rulePriority": 1,
                    "selection": {
                        "tagStatus": "untagged",
                        "countType": "sinceImagePushed",
                        "countUnit": "days",
                        "countNumber": 14,
                    },
                    "action": {"type": "expire"},
                }
            ]
        }
    ),
)
login = aws.ecr.get_authorization_token_output()
image = docker.Image(
    "image",
    image_name=pulumi.Output.concat(repository.repository_url, ":", config.get("tag", "v1")),
    build=docker.DockerBuildArgs(context="context", platform="linux/amd64"),
    registry=docker.RegistryArgs(
        server=repository.repository_url,
        username=login.user_name,
        password=pulumi.Output.secret(login.password),  # No plugin marks it as a secret.
    ),
)

aws.iam.RolePolicy(
    "read",
    role=f"role-{suffix}",
    policy=bucket.arn.apply(
        lambda arn: json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{arn}/*"}
                ],
            }
        )
    ),
)

component = greengrassv2.ComponentVersion(
    "component",
    inline_recipe=pulumi.Output.json_dumps(
        {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": f"com.example.{suffix}",
            "ComponentVersion": config.get("version", "1.0.0"),
            "ComponentDescription": image.repo_digest,
            "Manifests": [
                {
                    "Platform": {"os": "linux", "runtime": "*"},
                    "Lifecycle": {"run": {"Script": "true"}},
                    "Artifacts": [
                        {"Uri": pulumi.Output.concat("s3://", bucket.bucket, "/", model.key)}
                    ],
                }
            ],
        }
    ),
    opts=pulumi.ResourceOptions(delete_before_replace=False),
)
account = aws.get_caller_identity().account_id
greengrassv2.Deployment(
    "deployment",
    target_arn=f"arn:aws:iot:{aws.get_region().region}:{account}:thing/thing-{suffix}",
    deployment_name=f"small/{suffix}",
    components={
        f"com.example.{suffix}": greengrassv2.DeploymentComponentDeploymentSpecificationArgs(
            component_version=component.component_version
        )
    },
    opts=pulumi.ResourceOptions(delete_before_replace=False),
)
pulumi.export("image", image.repo_digest)
pulumi.export("component", component.component_version)
