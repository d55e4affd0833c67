"""Clients of the account that the providers work in: greenhouse's own, and never another.

The machine may hold real credentials. So every client gets its endpoint explicitly and doesn't
search for it as boto3 would. An endpoint on another machine is refused.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from greenhouse.providers.protocol.resource import Refused
from greenhouse.providers.protocol.session import Call
from greenhouse.providers.protocol.wire import Properties
from infra.errors import told

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

_CONFIG = Config(
    connect_timeout=5,
    read_timeout=15,  # All servers are on this machine, and SIGTERM waits for the running call.
    retries={"total_max_attempts": 2},
    max_pool_connections=32,  # The server has so many threads.
)


@dataclass(frozen=True, kw_only=True)
class AwsClients:
    """Clients by region. The same region always gets the same client."""

    endpoint: str
    control_endpoint: str
    sts_endpoint: str
    _session: boto3.Session = field(default_factory=boto3.Session)
    _clients: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> AwsClients:
        """The account of this environment. Raises Refused if it isn't a greenhouse's."""

        def loopback(name: str) -> str:
            url = environment.get(name, "")
            if urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
                raise Refused(
                    told(
                        f"{name} is '{url}', but these providers work on this machine only.",
                        "Have greenhouse start them:",
                        "make start",
                    )
                )
            return url

        sts = (
            "AWS_ENDPOINT_URL_STS" if "AWS_ENDPOINT_URL_STS" in environment else "AWS_ENDPOINT_URL"
        )
        return cls(
            endpoint=loopback("AWS_ENDPOINT_URL"),
            control_endpoint=loopback("AWS_ENDPOINT_URL_CLOUDCONTROL"),
            sts_endpoint=loopback(sts),
        )

    @property
    def registry(self) -> str:
        """Where the Docker engine finds the account's images, as `host:port`."""
        return urlsplit(self.endpoint).netloc

    def regions(self) -> list[str]:
        """The regions of AWS that botocore's data knows."""
        return self._session.get_available_regions("s3")

    def region(self, call: Call, properties: Properties) -> str:
        """The region of a resource: its own, else the provider's, else that of pulumi's shell."""
        given = properties.get("region") or call.session.config.get("region")
        environment = call.session.environment
        found = given or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
        if found:
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

    def client(
        self, service: str, region: str, keys: tuple[str, str] | None, *, attempts: int = 1
    ) -> Any:
        """A client that signs with these keys, and tries each call at most `attempts` times."""
        endpoint = self.control_endpoint if service == "cloudcontrol" else self.sts_endpoint
        make: Any = self._session.client  # Its overloads take only literal names.
        signing = {"aws_access_key_id": keys[0], "aws_secret_access_key": keys[1]} if keys else {}
        config = _CONFIG.merge(Config(retries={"total_max_attempts": attempts, "mode": "standard"}))
        known = (service, region, keys, attempts)
        with self._lock:  # Making a client isn't thread-safe, using it is.
            if known not in self._clients:
                self._clients[known] = make(
                    service, region_name=region, endpoint_url=endpoint, config=config, **signing
                )
            return self._clients[known]

    def _client(self, service: str, region: str) -> Any:
        with self._lock:  # Making a client isn't thread-safe, using it is.
            if (service, region) not in self._clients:
                make = partial(self._session.client, endpoint_url=self.endpoint, config=_CONFIG)
                made = make(service, region_name=region)
                made.meta.events.register("provide-client-params", refuse_excluded)
                self._clients[service, region] = made
            return self._clients[service, region]


def refuse_excluded(params: Mapping[str, Any], model: Any, **_: Any) -> None:
    """Refuse texts that AWS' own model of the operation excludes, as MiniStack takes them.

    botocore sends them, and leaves the check to AWS. It is botocore's event
    `provide-client-params`. Raises Refused.
    """
    if excluded := list(_excluded(model.input_shape, params, "")):
        raise Refused(f"{model.name}: {', and '.join(excluded)}")


def _excluded(shape: Any, value: Any, where: str) -> Iterator[str]:
    """The reasons, without the values, which may be secret."""
    if isinstance(value, Mapping) and shape.type_name == "structure":
        for name in value.keys() & shape.members.keys():
            yield from _excluded(shape.members[name], value[name], f"{where}.{name}")
    elif isinstance(value, list) and shape.type_name == "list":
        for one in value:
            yield from _excluded(shape.member, one, where)
    elif isinstance(value, str):
        limits, name = shape.metadata, where.removeprefix(".")
        if value not in limits.get("enum", (value,)):
            yield f"{name} must be {' or '.join(limits['enum'])}"
        # The patterns are Java's, whose \w is ASCII.
        elif not re.fullmatch(limits.get("pattern", ".*"), value, re.ASCII | re.DOTALL):
            yield f"{name} must match {limits['pattern']}"
        elif len(value) > limits.get("max", len(value)):
            yield f"{name} has at most {limits['max']} characters"
