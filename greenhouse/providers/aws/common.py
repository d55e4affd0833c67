"""What the resources of package `aws` share: account, tags, handling of missing resources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.protocol.resource import Failure, Function, Naming, Resource
from greenhouse.providers.protocol.session import Call
from greenhouse.providers.protocol.wire import Properties


class AwsResource(Resource):
    """A resource in an account."""

    def __init__(self, clients: AwsClients) -> None:
        self.clients = clients

    def check(
        self, call: Call, news: Properties, olds: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        inputs, failures = super().check(call, news, olds, naming)
        tags = inputs.get("tags")
        return inputs, failures + [
            Failure(f"tags.{key}", "can't be set: keys that begin with aws: are AWS' own")
            for key in (tags if isinstance(tags, dict) else ())
            if key.lower().startswith("aws:")
        ]

    def region(self, call: Call, properties: Properties) -> str:
        return self.clients.region(call, properties)


class AwsFunction(Function):
    """A function that asks an account."""

    def __init__(self, clients: AwsClients) -> None:
        self.clients = clients


def aws_error(code: str, message: str, *, operation: str) -> ClientError:
    """An error that AWS answers and MiniStack doesn't."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@contextmanager
def fine_if(*codes: str) -> Iterator[None]:
    """Ignore errors of these names, as they mean success here.

    S3's HEAD has a status instead of a name.
    """
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in codes:
            raise


def tag_list(tags: Mapping[str, str] | None) -> list[Any]:
    """{"a": "b"} as AWS's [{"Key": "a", "Value": "b"}]."""
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]


def tag_map(tags: Iterable[Any]) -> dict[str, str]:
    """AWS's list as a mapping."""
    return {tag["Key"]: tag["Value"] for tag in tags}
