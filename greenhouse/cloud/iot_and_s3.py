"""The rest of the account, which MiniStack answers for: things, groups, objects."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from greenhouse.cloud.errors import InternalServerException, ResourceNotFoundException
from greenhouse.home import ACCOUNT, REGION

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_s3 import S3Client

MEMBERSHIP_SECONDS = 1.0  # The greatest age of a polling device's list of groups.

_TARGET = re.compile(r"arn:[^:]*:iot:([^:]*):([0-9]+):(thing|thinggroup)/(.+)")


class ObjectNotReadable(Exception):
    """An s3:// object can't be read."""


@dataclass(frozen=True)
class Target:
    """The target of a deployment: one thing, or every core device of a group."""

    arn: str
    is_group: bool
    name: str


def parse_target(arn: str) -> Target:
    """The target in an ARN that the model has accepted. It must be of this account."""
    found = _TARGET.fullmatch(arn)
    if not found or found.group(1, 2) != (REGION, ACCOUNT):
        raise no_such_target(arn)
    return Target(arn, found.group(3) == "thinggroup", found.group(4))


def no_such_target(arn: str) -> ResourceNotFoundException:
    return ResourceNotFoundException(
        f"Target {arn} does not exist in account {ACCOUNT}, {REGION}",
        resource_id=arn,
        resource_type="Target",
    )


def thing_arn(thing: str) -> str:
    return f"arn:aws:iot:{REGION}:{ACCOUNT}:thing/{thing}"


class IotAndS3:
    """AWS IoT's registry and S3, through boto3."""

    def __init__(self) -> None:
        session = boto3.Session(region_name=REGION)
        config = Config(
            connect_timeout=2,
            read_timeout=30,
            retries={"total_max_attempts": 2},
            max_pool_connections=40,  # Starlette has so many worker threads.
        )
        self._iot: IoTClient = session.client("iot", config=config)
        self._s3: S3Client = session.client("s3", config=config)
        self._members: dict[str, tuple[float, frozenset[str]]] = {}
        self._lock = threading.Lock()

    def require(self, target: Target) -> None:
        """Raise ResourceNotFoundException unless the thing or group exists."""
        try:
            if target.is_group:
                self._iot.describe_thing_group(thingGroupName=target.name)
            else:
                self._iot.describe_thing(thingName=target.name)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                raise no_such_target(target.arn) from error
            raise _trouble("AWS IoT", error) from error
        except BotoCoreError as error:
            raise _trouble("AWS IoT", error) from error

    def members(self, group: str) -> frozenset[str]:
        """The things in a group. Empty if the group doesn't exist."""
        try:
            pages = self._iot.get_paginator("list_things_in_thing_group").paginate(
                thingGroupName=group
            )
            found = frozenset(thing for page in pages for thing in page["things"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise _trouble("AWS IoT", error) from error
            found = frozenset()
        except BotoCoreError as error:
            raise _trouble("AWS IoT", error) from error
        with self._lock:
            self._members[group] = (time.monotonic(), found)
        return found

    def recent_members(self, group: str) -> frozenset[str]:
        """Like `members`, at most `MEMBERSHIP_SECONDS` old, because many devices ask at once."""
        with self._lock:
            asked, found = self._members.get(group, (float("-inf"), frozenset()))
        if time.monotonic() - asked < MEMBERSHIP_SECONDS:
            return found
        return self.members(group)

    def digest(self, uri: str) -> str:
        """SHA-256 of an s3:// object's bytes as base64. Raises ObjectNotReadable."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        seen = hashlib.sha256()
        try:
            for chunk in self._s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20):
                seen.update(chunk)
        # ParamValidationError: no bucket can have the name.
        except (ClientError, ParamValidationError) as error:
            raise ObjectNotReadable(uri) from error
        except BotoCoreError as error:
            raise _trouble("S3", error) from error
        return b64encode(seen.digest()).decode()


def _trouble(service: str, error: Exception) -> InternalServerException:
    return InternalServerException(
        f"{service} of this account does not answer: {error}. See whether"
        " MiniStack runs: python -m greenhouse status"
    )
