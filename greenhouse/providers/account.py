"""The account that the providers work in: greenhouse's own, and never another.

A machine that runs this may hold real credentials. So the endpoints are passed on every client
rather than left to boto3's search, and anything that isn't on this machine is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from greenhouse.providers.resource import Refused
from greenhouse.providers.session import Call
from greenhouse.providers.wire import Properties

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=15,  # all on one machine; SIGTERM waits for the call that runs
    retries={"total_max_attempts": 2},
    max_pool_connections=32,  # as many as the server has threads
)


@dataclass(frozen=True, kw_only=True)
class Account:
    """Clients by region; the same one for the same region."""

    endpoint: str
    greengrass_endpoint: str
    default_region: str | None
    _session: boto3.Session = field(default_factory=boto3.Session)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Account:
        """The account of this environment; raises Refused when it isn't a greenhouse's."""

        def loopback(name: str) -> str:
            url = environment.get(name, "")
            if urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
                raise Refused(
                    f"{name} is '{url}', but these providers work on this machine only."
                    " Have greenhouse start them: make start"
                )
            return url

        return cls(
            endpoint=loopback("AWS_ENDPOINT_URL"),
            greengrass_endpoint=loopback("AWS_ENDPOINT_URL_GREENGRASSV2"),
            default_region=environment.get("AWS_REGION"),
        )

    @property
    def registry(self) -> str:
        """Where the Docker engine finds the account's images, as `host:port`."""
        return urlsplit(self.endpoint).netloc

    def regions(self) -> list[str]:
        """Those that AWS has, as botocore's data knows them."""
        return self._session.get_available_regions("s3")

    def region(self, call: Call, properties: Properties) -> str:
        """The region of a resource: its own, else the provider's, else the environment's."""
        region = properties.get("region") or call.session.config.get("region")
        if found := region or self.default_region:
            return str(found)
        raise Refused("there is no region. Set one: pulumi config set aws:region eu-west-1")

    def s3(self, region: str) -> S3Client:
        client: S3Client = self._client("s3", region)
        return client

    def ecr(self, region: str) -> ECRClient:
        client: ECRClient = self._client("ecr", region)
        return client

    def iam(self, region: str) -> IAMClient:
        client: IAMClient = self._client("iam", region)
        return client

    def sts(self, region: str) -> STSClient:
        client: STSClient = self._client("sts", region)
        return client

    def greengrass(self, region: str) -> GreengrassV2Client:
        client: GreengrassV2Client = self._client("greengrassv2", region)
        return client

    def _client(self, service: str, region: str) -> Any:
        endpoint = self.greengrass_endpoint if service == "greengrassv2" else self.endpoint
        with self._lock:  # making one isn't thread-safe, using one is
            if (service, region) not in self._clients:
                make = partial(self._session.client, endpoint_url=endpoint, config=_CONFIG)
                self._clients[service, region] = make(service, region_name=region)
            return self._clients[service, region]
