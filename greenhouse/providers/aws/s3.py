"""Buckets, the settings of a bucket, and the objects in it."""

# ruff: noqa: ARG002  # one shape of verbs for all resources; not all need every argument

from __future__ import annotations

import hashlib
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from botocore.exceptions import ClientError
from pulumi_aws.s3 import bucket, bucket_objectv2, bucket_policy, bucket_public_access_block
from pulumi_aws.s3 import bucket_ownership_controls as ownership
from pulumi_aws.s3 import bucket_server_side_encryption_configuration as encryption

from greenhouse.providers.aws.common import AwsResource, aws_error, fine_if, tag_list, tag_map
from greenhouse.providers.aws.policies import refuse_malformed_bucket_policy
from greenhouse.providers.protocol.resource import Failure, Incomplete, Naming, Refused
from greenhouse.providers.protocol.session import Call
from greenhouse.providers.protocol.wire import Asset, Properties, has_unknown

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NO_BUCKET = ("NoSuchBucket", "404")
# The rules that MiniStack doesn't have:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_DEFAULT = "applyServerSideEncryptionByDefault"


class Bucket(AwsResource):
    """The bucket itself. v7 of the package has separate resources for its settings."""

    kind = "aws:s3/bucket:Bucket"
    args = bucket.BucketArgs
    acted_on = frozenset({"bucket", "forceDestroy", "region", "tags"})
    defaults: ClassVar = {"forceDestroy": False}
    replaced_by = frozenset({"bucket", "region"})
    computed = frozenset(
        {
            "arn",
            "bucket",
            "bucketDomainName",
            "bucketRegion",
            "bucketRegionalDomainName",
            "region",
            "tagsAll",
        }
    )
    renewed = frozenset({"tagsAll"})

    def check(
        self, call: Call, news: Properties, olds: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        inputs, failures = super().check(call, news, olds, naming)
        failures += self.name_itself("bucket", inputs, olds, naming, longest=63, lower=True)
        return inputs, failures

    def instead(self, name: str) -> str:
        return "Use the resource that v7 has for it, such as s3.BucketVersioning, or leave it out"

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        region = self.region(call, inputs)
        s3 = self.clients.s3(region)
        name = inputs["bucket"]
        if name.startswith(_RESERVED_STARTS) or name.endswith(_RESERVED_ENDS):
            raise aws_error(
                "InvalidBucketName", "The specified bucket is not valid.", operation="CreateBucket"
            )
        with fine_if(*_NO_BUCKET):
            s3.get_bucket_location(Bucket=name)  # HEAD's errors would have no message.
            raise aws_error(  # MiniStack answers 200, as AWS does in us-east-1 only.
                "BucketAlreadyOwnedByYou",
                f"Your previous request to create the named bucket, {name}, succeeded and you"
                " already own it.",
                operation="CreateBucket",
            )
        elsewhere: Any = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **({} if region == "us-east-1" else elsewhere))
        try:
            _put_tags(s3, name, inputs.get("tags"))
        except ClientError as error:
            raise Incomplete(name, self._attributes(name, region, {}), str(error)) from error
        return name, self._attributes(name, region, inputs.get("tags"))

    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        region = self.region(call, olds)
        s3 = self.clients.s3(region)
        with fine_if(*_NO_BUCKET):
            s3.get_bucket_location(Bucket=id_)
            tags = _get_tags(s3, id_)
            kept = {"forceDestroy": olds.get("forceDestroy", False)}
            return {**self._attributes(id_, region, tags), "tags": tags, **kept}
        return None

    def update(self, call: Call, id_: str, olds: Properties, news: Properties) -> Properties:
        if olds.get("tags") != news.get("tags"):
            _put_tags(self.clients.s3(self.region(call, news)), id_, news.get("tags"))
        return {"tagsAll": news.get("tags") or {}}

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        s3 = self.clients.s3(self.region(call, olds))
        with fine_if(*_NO_BUCKET):
            if olds.get("forceDestroy"):
                _delete_versions(s3, id_)
            s3.delete_bucket(Bucket=id_)

    def _attributes(self, name: str, region: str, tags: Properties | None) -> Properties:
        return {
            "arn": f"arn:aws:s3:::{name}",
            "bucket": name,
            "bucketDomainName": f"{name}.s3.amazonaws.com",
            "bucketRegion": region,
            "bucketRegionalDomainName": f"{name}.s3.{region}.amazonaws.com",
            "region": region,
            "tagsAll": tags or {},
        }


def _put_tags(s3: S3Client, name: str, tags: Properties | None) -> None:
    if tags:
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tag_list(tags)})
    else:
        s3.delete_bucket_tagging(Bucket=name)


def _get_tags(s3: S3Client, name: str) -> dict[str, str]:
    with fine_if("NoSuchTagSet"):
        return tag_map(s3.get_bucket_tagging(Bucket=name)["TagSet"])
    return {}


def _delete_versions(s3: S3Client, name: str, key: str | None = None) -> None:
    """Delete every version and delete marker of one key, or of all keys."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name, Prefix=key or ""):
        found: list[Any] = [
            {"Key": version["Key"], "VersionId": version["VersionId"]}
            for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
            if key in (None, version["Key"])
        ]
        if not found:
            continue
        answer = s3.delete_objects(Bucket=name, Delete={"Objects": found, "Quiet": True})
        for left in answer.get("Errors", ()):
            raise Refused(f"{left.get('Code')}: {left.get('Key')}: {left.get('Message')}")


class OnBucket(AwsResource):
    """A setting of a bucket, which has at most one of each kind. Its id is the bucket's name."""

    replaced_by = frozenset({"bucket", "region"})
    computed = frozenset({"region"})
    gone_as: str
    """S3's name for "this bucket has none"."""

    @abstractmethod
    def put(self, s3: S3Client, inputs: Properties) -> None: ...

    @abstractmethod
    def get(self, s3: S3Client, name: str) -> Properties: ...

    @abstractmethod
    def remove(self, s3: S3Client, name: str) -> None: ...

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        region = self.region(call, inputs)
        self.put(self.clients.s3(region), inputs)
        return inputs["bucket"], {"region": region}

    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        region = self.region(call, olds)
        with fine_if(self.gone_as, *_NO_BUCKET):
            found = self.get(self.clients.s3(region), id_)
            return {"bucket": id_, "region": region, **found}
        return None

    def update(self, call: Call, id_: str, olds: Properties, news: Properties) -> Properties:
        self.put(self.clients.s3(self.region(call, news)), news)
        return {}

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        with fine_if(self.gone_as, *_NO_BUCKET):
            self.remove(self.clients.s3(self.region(call, olds)), id_)


class BucketPublicAccessBlock(OnBucket):
    """Four switches, which are off unless the program sets them."""

    kind = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    args = bucket_public_access_block.BucketPublicAccessBlockArgs
    defaults: ClassVar = {
        "blockPublicAcls": False,
        "blockPublicPolicy": False,
        "ignorePublicAcls": False,
        "restrictPublicBuckets": False,
    }
    acted_on = frozenset({"bucket", "region", "skipDestroy", *defaults})
    gone_as = "NoSuchPublicAccessBlockConfiguration"

    def put(self, s3: S3Client, inputs: Properties) -> None:
        switches: Any = {_pascal(name): inputs[name] for name in self.defaults}
        s3.put_public_access_block(Bucket=inputs["bucket"], PublicAccessBlockConfiguration=switches)

    def get(self, s3: S3Client, name: str) -> Properties:
        found = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
        return {name: found.get(_pascal(name), False) for name in self.defaults}

    def remove(self, s3: S3Client, name: str) -> None:
        s3.delete_public_access_block(Bucket=name)

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        if not olds.get("skipDestroy"):
            super().delete(call, id_, olds)


class BucketServerSideEncryptionConfiguration(OnBucket):
    """The encryption of objects if the upload names none."""

    kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    args = encryption.BucketServerSideEncryptionConfigurationInitArgs
    acted_on = frozenset({"bucket", "region", "rules"})
    gone_as = "ServerSideEncryptionConfigurationNotFoundError"

    def check(
        self, call: Call, news: Properties, olds: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        inputs, failures = super().check(call, news, olds, naming)
        if failures or has_unknown(inputs["rules"]):
            return inputs, failures
        for number, rule in enumerate(inputs["rules"]):
            where = f"rules[{number}]."
            failures += self.refused(rule, {_DEFAULT}, where)
            if _DEFAULT not in rule:
                failures.append(Failure(where + _DEFAULT, "is required"))
            given = rule.get(_DEFAULT, {})
            failures += self.refused(given, {"sseAlgorithm"}, f"{where}{_DEFAULT}.")
        return inputs, failures

    def put(self, s3: S3Client, inputs: Properties) -> None:
        rules: Any = [
            {_pascal(_DEFAULT): {"SSEAlgorithm": rule[_DEFAULT]["sseAlgorithm"]}}
            for rule in inputs["rules"]
        ]
        s3.put_bucket_encryption(
            Bucket=inputs["bucket"], ServerSideEncryptionConfiguration={"Rules": rules}
        )

    def get(self, s3: S3Client, name: str) -> Properties:
        found: Any = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]
        return {
            "rules": [
                {_DEFAULT: {"sseAlgorithm": rule[_pascal(_DEFAULT)]["SSEAlgorithm"]}}
                for rule in found["Rules"]
            ]
        }

    def remove(self, s3: S3Client, name: str) -> None:
        s3.delete_bucket_encryption(Bucket=name)


class BucketOwnershipControls(OnBucket):
    """Who owns the objects that others upload."""

    kind = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
    args = ownership.BucketOwnershipControlsArgs
    acted_on = frozenset({"bucket", "region", "rule"})
    gone_as = "OwnershipControlsNotFoundError"

    def put(self, s3: S3Client, inputs: Properties) -> None:
        rule: Any = {"ObjectOwnership": inputs["rule"]["objectOwnership"]}
        s3.put_bucket_ownership_controls(
            Bucket=inputs["bucket"], OwnershipControls={"Rules": [rule]}
        )

    def get(self, s3: S3Client, name: str) -> Properties:
        found = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
        return {"rule": {"objectOwnership": found[0]["ObjectOwnership"]}}

    def remove(self, s3: S3Client, name: str) -> None:
        s3.delete_bucket_ownership_controls(Bucket=name)


class BucketPolicy(OnBucket):
    """Who may do what with the bucket."""

    kind = "aws:s3/bucketPolicy:BucketPolicy"
    args = bucket_policy.BucketPolicyArgs
    acted_on = frozenset({"bucket", "policy", "region"})
    documents: ClassVar = {"policy": bucket_policy.PolicyDocumentArgs}
    gone_as = "NoSuchBucketPolicy"

    def put(self, s3: S3Client, inputs: Properties) -> None:
        refuse_malformed_bucket_policy(inputs["bucket"], inputs["policy"])
        s3.put_bucket_policy(Bucket=inputs["bucket"], Policy=inputs["policy"])

    def get(self, s3: S3Client, name: str) -> Properties:
        return {"policy": s3.get_bucket_policy(Bucket=name)["Policy"]}

    def remove(self, s3: S3Client, name: str) -> None:
        s3.delete_bucket_policy(Bucket=name)


_BODIES = ("content", "source")


class BucketObjectv2(AwsResource):
    """An object. Its content is compared by hash alone."""

    kind = "aws:s3/bucketObjectv2:BucketObjectv2"
    args = bucket_objectv2.BucketObjectv2Args
    acted_on = frozenset(
        {"bucket", "contentType", "forceDestroy", "key", "region", "sourceHash", "tags", *_BODIES}
    )
    defaults: ClassVar = {"forceDestroy": False}
    replaced_by = frozenset({"bucket", "key", "region"})
    computed = frozenset(
        {"arn", "contentType", "etag", "region", "storageClass", "tagsAll", "versionId"}
    )
    renewed = frozenset({"etag", "tagsAll", "versionId"})

    def check(
        self, call: Call, news: Properties, olds: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        inputs, failures = super().check(call, news, olds, naming)
        failures += self.name_itself("key", inputs, olds, naming, longest=1024, random=False)
        given = [name for name in _BODIES if name in inputs]
        failures += [
            Failure(name, f"conflicts with {given[0]}: leave one of them out") for name in given[1:]
        ]
        if isinstance(inputs.get("source"), Asset) and inputs["source"].uri:
            failures.append(
                Failure("source", "is a remote asset; greenhouse takes files and texts")
            )
        return inputs, failures

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        return f"{inputs['bucket']}/{inputs['key']}", self._put(call, inputs)

    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        name, _, key = id_.partition("/")
        region = self.region(call, olds)
        s3 = self.clients.s3(region)
        with fine_if("404", "NoSuchKey", *_NO_BUCKET):
            head: Any = s3.head_object(Bucket=name, Key=key)
            tags = tag_map(s3.get_object_tagging(Bucket=name, Key=key)["TagSet"])
            attributes = self._attributes(name, key, region, tags, head)
            return {"bucket": name, "key": key, "tags": tags, **attributes}
        return None

    def update(self, call: Call, id_: str, olds: Properties, news: Properties) -> Properties:
        """Upload the object again only if its content changes, as the plugin does."""
        compared = ["sourceHash", *_BODIES]
        if "contentType" in news:  # Otherwise the output is S3's own choice.
            compared.append("contentType")
        if any(not self.equal(name, olds.get(name), news.get(name)) for name in compared):
            return self._put(call, news)
        tags = news.get("tags") or {}
        _tag_object(self.clients.s3(self.region(call, news)), news["bucket"], news["key"], tags)
        return {"tagsAll": tags}

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        s3 = self.clients.s3(self.region(call, olds))
        with fine_if(*_NO_BUCKET):
            if olds.get("versionId"):
                _delete_versions(s3, olds["bucket"], olds["key"])
            else:
                s3.delete_object(Bucket=olds["bucket"], Key=olds["key"])

    def _put(self, call: Call, inputs: Properties) -> Properties:
        region = self.region(call, inputs)
        s3 = self.clients.s3(region)
        name, key, tags = inputs["bucket"], inputs["key"], inputs.get("tags") or {}
        kind: Any = {"ContentType": inputs["contentType"]} if "contentType" in inputs else {}
        s3.put_object(Bucket=name, Key=key, Body=_body(call, inputs), **kind)
        _tag_object(s3, name, key, tags)  # MiniStack keeps the tags of the object before.
        head: Any = s3.head_object(Bucket=name, Key=key)
        return self._attributes(name, key, region, tags, head)

    def _attributes(
        self, name: str, key: str, region: str, tags: Properties, head: Properties
    ) -> Properties:
        version = head.get("VersionId")
        return {
            "arn": f"arn:aws:s3:::{name}/{key}",
            "contentType": head["ContentType"],
            "etag": head["ETag"].strip('"'),
            "region": region,
            "storageClass": head.get("StorageClass", "STANDARD"),
            "tagsAll": tags,
            "versionId": "" if version == "null" else version or "",
        }


def _tag_object(s3: S3Client, name: str, key: str, tags: Properties) -> None:
    if tags:
        s3.put_object_tagging(Bucket=name, Key=key, Tagging={"TagSet": tag_list(tags)})
    else:
        s3.delete_object_tagging(Bucket=name, Key=key)


def _body(call: Call, inputs: Properties) -> bytes:
    source = inputs.get("source")
    if source is None:
        return str(inputs.get("content", "")).encode()
    if not isinstance(source, Asset):
        raise Refused("an archive can't be the source of an object here; use a pulumi.FileAsset")
    if source.path is None:
        return (source.text or "").encode()
    path = call.path(source.path)
    body = path.read_bytes()
    if source.hash and hashlib.sha256(body).hexdigest() != source.hash:
        raise Refused(f"{path} changed while it was being deployed. Run `pulumi up` again")
    return body


def _pascal(name: str) -> str:
    return name[0].upper() + name[1:]


RESOURCES = (
    Bucket,
    BucketPublicAccessBlock,
    BucketServerSideEncryptionConfiguration,
    BucketOwnershipControls,
    BucketPolicy,
    BucketObjectv2,
)
