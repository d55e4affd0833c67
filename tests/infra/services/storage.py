"""ECR and S3, answered from what the account holds."""

# ruff: noqa: N803  # the API's own names for its parameters

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from io import BytesIO
from typing import Any

from tests.infra.services.contents import ACCOUNT, NOON, REGION, Contents, Refused, tag_list


class Storage(Contents):
    """Repositories with images, and buckets with objects."""

    def _describe_repositories(self, *, repositoryNames: list[str]) -> dict[str, Any]:
        [name] = repositoryNames
        if name not in self.repositories:
            raise Refused("RepositoryNotFoundException")
        arn = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{name}"
        return {"repositories": [{"repositoryName": name, "repositoryArn": arn}]}

    def _list_tags_for_resource(self, *, resourceArn: str) -> dict[str, Any]:
        return {"tags": tag_list(self.repositories[resourceArn.partition(":repository/")[2]])}

    def _delete_repository(self, *, repositoryName: str, force: bool) -> dict[str, Any]:
        inside = [image for image in self.images if image[0] == repositoryName]
        if inside and not force:
            raise Refused("RepositoryNotEmptyException")
        for image in inside:
            del self.images[image]
        del self.repositories[repositoryName]
        return {}

    def _batch_delete_image(
        self, *, repositoryName: str, imageIds: list[dict[str, str]]
    ) -> dict[str, Any]:
        if repositoryName not in self.repositories:
            raise Refused("RepositoryNotFoundException")
        for one in imageIds:
            if one.get("imageDigest") in self.listed_by_index():
                failure = {"imageId": one, "failureCode": "ImageReferencedByManifestList"}
                return {"imageIds": [], "failures": [failure]}
        for untagged in [one["imageDigest"] for one in imageIds if "imageDigest" in one]:
            self.indexes.pop(untagged, None)
            self.untagged.discard(untagged)
        for (repository, tag), digest in list(self.images.items()):
            asked = {"imageTag": tag} in imageIds or {"imageDigest": digest} in imageIds
            if repository == repositoryName and asked:
                del self.images[repository, tag]
        return {"imageIds": [], "failures": []}  # ECR reports no error for a missing image.

    def listed_by_index(self) -> set[str]:
        """What can't be deleted before the index that refers to it."""
        return {one["digest"] for index in self.indexes.values() for one in index["manifests"]}

    def _list_images(
        self, *, repositoryName: str, nextToken: str = "", **asked: Any
    ) -> dict[str, Any]:
        if repositoryName not in self.repositories:
            raise Refused("RepositoryNotFoundException")
        assert asked == {"filter": {"tagStatus": "TAGGED"}}
        everything = [
            {"imageTag": tag, "imageDigest": digest}
            for (repository, tag), digest in self.images.items()
            if repository == repositoryName
        ]
        return self._page("imageIds", everything, nextToken)

    def _batch_get_image(
        self,
        *,
        repositoryName: str,
        imageIds: list[dict[str, str]],
        acceptedMediaTypes: Sequence[str],
    ) -> dict[str, Any]:
        assert "application/vnd.oci.image.index.v1+json" in acceptedMediaTypes
        if repositoryName not in self.repositories:
            raise Refused("RepositoryNotFoundException")
        [asked] = imageIds
        digest = self.images.get((repositoryName, asked.get("imageTag", "")))
        if asked.get("imageDigest") in self.indexes:
            digest = asked["imageDigest"]
        image = {
            "imageId": {"imageDigest": digest},
            "imageManifest": json.dumps({"of": digest} | self.indexes.get(digest or "", {})),
            "imageManifestMediaType": "application/vnd.docker.distribution.manifest.v2+json",
        }
        return {"images": [image] if digest else []}

    def _describe_image_scan_findings(
        self, *, repositoryName: str, imageId: dict[str, str], nextToken: str = ""
    ) -> dict[str, Any]:
        key = (repositoryName, imageId["imageDigest"])
        if key not in self.scans:
            raise Refused("ScanNotFoundException")
        found = self.scans[key]
        listed = found.get("imageScanFindings", {}).get("findings", [])
        if nextToken or len(listed) < 2:
            return found | {
                "imageScanFindings": found.get("imageScanFindings", {}) | {"findings": listed[-1:]}
            }
        return found | {"imageScanFindings": {"findings": listed[:-1]}, "nextToken": "the last one"}

    def _put_image(
        self,
        *,
        repositoryName: str,
        imageManifest: str,
        imageManifestMediaType: str,
        imageTag: str,
    ) -> dict[str, Any]:
        assert imageManifestMediaType, "or ECR has to guess"
        if (repositoryName, imageTag) in self.images:
            raise Refused("ImageAlreadyExistsException")
        self.images[repositoryName, imageTag] = json.loads(imageManifest)["of"]
        return {}

    def _head_bucket(self, *, Bucket: str, ExpectedBucketOwner: str) -> dict[str, Any]:
        if Bucket in self.foreign_buckets:
            raise Refused("403")
        if Bucket not in self.buckets:
            raise Refused("404")
        assert ExpectedBucketOwner == ACCOUNT
        return {}

    def _get_bucket_tagging(self, *, Bucket: str) -> dict[str, Any]:
        if not self.buckets[Bucket]:
            raise Refused("NoSuchTagSet")
        return {"TagSet": tag_list(self.buckets[Bucket])}

    def _list_objects_v2(
        self, *, Bucket: str, EncodingType: str, Prefix: str = "", ContinuationToken: str = ""
    ) -> dict[str, Any]:
        assert EncodingType == "url"  # boto3 itself adds it.
        if Bucket not in self.buckets:
            raise Refused("NoSuchBucket")
        everything = [  # Stored one after the other, a second apart.
            {"Key": key, "LastModified": NOON + timedelta(seconds=number)}
            for number, key in enumerate(self.objects.get(Bucket, {}))
            if key.startswith(Prefix)
        ]
        page = self._page("Contents", everything, ContinuationToken)
        if token := page.pop("nextToken", None):
            page |= {"IsTruncated": True, "NextContinuationToken": token}
        return page

    def _get_object(self, *, Bucket: str, Key: str, ChecksumMode: str) -> dict[str, Any]:
        assert ChecksumMode  # boto3 itself adds it.
        return {"Body": BytesIO(self.objects[Bucket][Key])}

    def _delete_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        del self.objects[Bucket][Key]
        return {}

    def _delete_bucket(self, *, Bucket: str) -> dict[str, Any]:
        if self.objects.get(Bucket):
            raise Refused("BucketNotEmpty")
        del self.buckets[Bucket]
        return {}
