"""The bucket and its objects, each with a key made from its content.

Greengrass stores a digest of every artifact with a component version, and a device refuses an
object with another digest. So an object is never overwritten. Superseded objects stay for devices
with an older release, and are deleted with the bucket.
"""

from __future__ import annotations

import bz2
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.account.context import Context
from infra.model.golden import Golden, golden
from infra.model.memory import check_memory
from infra.publish import already_there
from infra.publish.build_folder import made_once
from infra.publish.recipe import MODEL
from infra.publish.versions_from_content import canonical
from infra.settings import Settings

CONSUMER_PROGRAM = Path("edge/consumer/consumer.py")


@dataclass(frozen=True, kw_only=True)
class File:
    """The stored file, and the sha256 of its content, unpacked if it is packed."""

    asset: pulumi.FileAsset | pulumi.StringAsset
    sha256: str

    @classmethod
    def text(cls, text: str) -> File:
        return cls(asset=pulumi.StringAsset(text), sha256=_sha256(text.encode()))

    @classmethod
    def plain(cls, path: Path) -> File:
        return cls(asset=pulumi.FileAsset(str(path)), sha256=_sha256(path.read_bytes()))

    @classmethod
    def packed(cls, data: bytes) -> File:
        """The file packed by bzip2, whose output has been the same in every version since 2000.

        zlib's output differs, so the same model would be another object on another machine.
        """
        sha256 = _sha256(data)
        packed = made_once(f"{sha256}.bz2", lambda draft: draft.write_bytes(bz2.compress(data)))
        return cls(asset=pulumi.FileAsset(str(packed)), sha256=sha256)


@dataclass(frozen=True, kw_only=True)
class Handover:
    """The author's model and samples with the golden answers, ready to be stored."""

    golden: Golden
    files: dict[str, File]  # By their names on the device.

    @classmethod
    def read(cls, settings: Settings) -> Handover:
        """Ask XGBoost for the golden answers. Raises Misconfigured for what a device can't use."""
        answers = golden(
            settings.model,
            settings.samples,
            settings.engine,
            settings.trees,
            settings.predictions,
        )
        check_memory(
            settings.model,
            len(answers.file),
            settings.memory,
            settings.engine,
            features=len(answers.samples[0]),
        )
        return cls(
            golden=answers,
            files={
                MODEL: File.packed(answers.file),
                "samples.json": File.text(canonical(answers.samples).decode()),
                "golden.json": File.text(canonical(answers.document()).decode()),
                "consumer.py": File.plain(CONSUMER_PROGRAM),
            },
        )


class Artifacts(pulumi.ComponentResource):
    """A private, encrypted, TLS-only bucket with one release's files."""

    bucket: pulumi.Output[str]
    objects: dict[str, str]  # File name to the object's ARN, known at preview.
    uris: dict[str, pulumi.Output[str]]  # File name to s3://…, known once the object is stored.
    planned: dict[str, str]  # File name to the same URI, known at preview.

    def __init__(
        self,
        name: str,
        *,
        files: Mapping[str, File],
        context: Context,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("edge:artifacts:Artifacts", name, None, opts)
        tags, bucket_name = context.tags, context.bucket
        child = pulumi.ResourceOptions(parent=self)
        bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=bucket_name,
            force_destroy=True,  # A destroy also deletes the superseded objects.
            tags=tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                hooks=already_there.refuse_unknown_stack(
                    "bucket", context, partial(already_there.clear_bucket, context)
                ),
            ),
        )
        private = aws.s3.BucketPublicAccessBlock(
            f"{name}-private",
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket.bucket,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=child,
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.bucket,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=child,
        )
        aws.s3.BucketPolicy(
            f"{name}-tls-only",
            bucket=bucket.bucket,
            policy=json.dumps(policies.tls_only(context.arn("s3", bucket_name))),
            # S3 answers one of two concurrent policy changes with 409.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[private]),
        )
        self.bucket, self.objects, self.uris, self.planned = bucket.bucket, {}, {}, {}
        for file, content in files.items():
            key = f"{content.sha256}/{file}"
            stored = aws.s3.BucketObjectv2(
                f"{name}-{file}",
                bucket=bucket.bucket,
                key=key,
                source=content.asset,
                opts=pulumi.ResourceOptions(
                    parent=self, retain_on_delete=True, delete_before_replace=False
                ),
            )
            self.objects[file] = context.arn("s3", f"{bucket_name}/{key}")
            self.uris[file] = pulumi.Output.concat("s3://", stored.bucket, "/", stored.key)
            self.planned[file] = f"s3://{bucket_name}/{key}"
        self.register_outputs({})


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
