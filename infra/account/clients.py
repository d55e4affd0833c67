"""boto3's clients, for calls that no Pulumi resource makes: devices' states, leftovers, uninstalls.

The credentials are those of the Pulumi providers: the environment's or `aws:profile`'s. Where the
config names a role, they are used to assume it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import ClientError, NoCredentialsError

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

AT_ONCE = 16  # Calls at the same time: AWS throttles reads at about 50 a second per account.

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")

# Botocore repeats throttled calls after random pauses.
_PATIENT = Config(retries={"mode": "adaptive", "max_attempts": 8}, max_pool_connections=AT_ONCE)

_GONE = frozenset(
    {
        "ResourceNotFoundException",
        "RepositoryNotFoundException",
        "NoSuchBucket",
        "NoSuchTagSet",
        "404",
    }
)

# It asks for details only. A network without CloudWatch must not delay a failed update's error.
_BRIEF = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 2})


def at_once(question: Callable[[_Asked], _Answer], about: Iterable[_Asked]) -> list[_Answer]:
    """The answers in the order of `about`, asked many at a time. Raises the first one's error.

    A question makes one call or a few of about 50 ms, and asks nothing at once itself.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(question, about))


@dataclass(frozen=True, kw_only=True)
class Role:
    """An IAM role to assume."""

    arn: str
    external_id: str | None = None
    session: str | None = None  # The session's name in CloudTrail.


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Clients, each made on first use and then kept, because a client holds its own rate limit."""

    region: str
    profile: str | None
    role: Role | None = None
    _making: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)
    """Held while a client is made, which isn't thread-safe as using one is."""

    @cached_property
    def _session(self) -> boto3.Session:
        own = boto3.Session(region_name=self.region, profile_name=self.profile)
        return _assuming(own, self.role, self.profile) if self.role else own

    @cached_property
    def sts(self) -> STSClient:
        with self._making:
            return self._session.client("sts", config=_PATIENT)

    @cached_property
    def greengrass(self) -> GreengrassV2Client:
        with self._making:
            return self._session.client("greengrassv2", config=_PATIENT)

    @cached_property
    def iot(self) -> IoTClient:
        with self._making:
            return self._session.client("iot", config=_PATIENT)

    @cached_property
    def iam(self) -> IAMClient:
        with self._making:
            return self._session.client("iam", config=_PATIENT)

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        with self._making:
            return self._session.client("logs", config=_BRIEF)

    @cached_property
    def ecr(self) -> ECRClient:
        with self._making:
            return self._session.client("ecr", config=_PATIENT)

    @cached_property
    def s3(self) -> S3Client:
        with self._making:
            return self._session.client("s3", config=_PATIENT)


@cache
def shared(region: str, profile: str | None, role: Role | None) -> Clients:
    """The clients for these arguments. A process makes them once."""
    return Clients(region=region, profile=profile, role=role)


class _AsRole(CredentialProvider):
    """A role's credentials, fetched on first use and renewed before they expire."""

    METHOD = "assume-role"

    def __init__(self, fetcher: AssumeRoleCredentialFetcher) -> None:
        super().__init__()
        self._fetcher = fetcher

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(self._fetcher.fetch_credentials, self.METHOD)


def _assuming(own: boto3.Session, role: Role, profile: str | None) -> boto3.Session:
    """A session that assumes the role with another session's credentials."""
    credentials = own.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    extra = {"ExternalId": role.external_id, "RoleSessionName": role.session}
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=own.client,
        source_credentials=credentials,
        role_arn=role.arn,
        extra_args={name: value for name, value in extra.items() if value},
    )
    core = botocore.session.Session(profile=profile)
    core.get_component("credential_provider").providers.insert(0, _AsRole(fetcher))
    return boto3.Session(botocore_session=core, region_name=own.region_name)


@contextmanager
def unless_gone() -> Iterator[None]:
    """Leave the block when AWS says that the thing doesn't exist.

    AWS also says so for a deletion that botocore repeats because the first answer was lost.
    """
    try:
        yield
    except ClientError as error:
        if error_code(error) not in _GONE:
            raise


def error_code(error: ClientError) -> str:
    """AWS's error code."""
    return str(error.response.get("Error", {}).get("Code", ""))
