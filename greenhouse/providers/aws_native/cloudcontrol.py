"""A client of Cloud Control that behaves and words its errors as the aws-native plugin does.

The plugin is written in Go, with the AWS SDK for Go. People search for the text of its errors, so
the texts here are the same. The number of attempts is the plugin's where the provider sets it.
Elsewhere it is lower: with the plugin's 25, an unreachable greenhouse would be reported only after
minutes.
"""

from __future__ import annotations

import json
import random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
)

ATTEMPTS = 5
NO_CREDENTIALS = (
    "get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found,"
    " operation error ec2imds: GetMetadata, access disabled to EC2 IMDS via client option, or"
    ' "AWS_EC2_METADATA_DISABLED" environment variable'
)
_RETRIED_EVENTS = ("Throttling",)
_NOT_FOUND_ATTEMPTS = 5
_SHORTEST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.05, 2.0
_TRANSIENT = ("ThrottlingException", "ServiceInternalErrorException", "RequestTimeout")


class Failed(Exception):
    """What the engine is told. `cancelled` is gRPC's own code for it."""

    def __init__(self, message: str, *, code: str = "", cancelled: bool = False) -> None:
        super().__init__(message)
        self.code, self.cancelled = code, cancelled


class HalfMade(Exception):
    """The resource was made and read, but isn't right."""

    def __init__(self, identifier: str, state: dict[str, Any], reason: str) -> None:
        super().__init__(reason)
        self.identifier, self.state = identifier, state


@dataclass(frozen=True, kw_only=True)
class ControlClient:
    """Cloud Control for one configured provider."""

    client: Any
    """boto3's client, or None if there are no credentials."""
    attempts: int
    role_arn: str | None
    cancelled: threading.Event
    """Cancel sets it: it stops everything but a create."""

    def create(
        self, kind: str, state: dict[str, Any], say: Callable[[str, bool], None]
    ) -> tuple[str, dict[str, Any]]:
        """The identifier and the properties of a new resource. Raises Failed or HalfMade."""
        given = {"TypeName": kind, "DesiredState": _json(state)}
        try:
            event = self._retried("CreateResource", given, say, stop=None)
        except _Ended as ended:
            identifier, error = ended.event.get("Identifier"), str(ended)
            if identifier is None:
                raise Failed(f"creating resource: creating resource: {error}") from ended
            if ended.event.get("ErrorCode") == "AlreadyExists":
                raise Failed(f"creating resource: {error}") from ended
            try:
                found = self._get(kind, identifier, stop=None)
            except Failed as unread:
                raise Failed(f"creating resource: creating resource (await): {error}") from unread
            raise HalfMade(identifier, found, error) from ended
        except Failed as error:
            told = f"creating resource: creating resource: {error}"
            raise Failed(told, code=error.code) from error
        identifier = event.get("Identifier")
        if identifier is None:
            raise Failed("creating resource: received nil identifier while awaiting completion")
        return str(identifier), self._get_at_last(kind, str(identifier))

    def _get_at_last(self, kind: str, identifier: str) -> dict[str, Any]:
        """Read a new resource, which may not be found at once."""
        pause = threading.Event()
        for attempt in range(_NOT_FOUND_ATTEMPTS):
            try:
                return self._get(kind, identifier, stop=None)
            except Failed as error:
                if error.code != "ResourceNotFoundException" or attempt + 1 == _NOT_FOUND_ATTEMPTS:
                    raise Failed(f"creating resource: reading resource state: {error}") from error
            pause.wait(min(2**attempt * random.random(), 5))  # noqa: S311  # jitter
        raise AssertionError("the last attempt returns or raises")

    def read(self, kind: str, identifier: str) -> dict[str, Any] | None:
        """Its properties, or None if it is gone. Any 404 means gone, as in the plugin."""
        try:
            return self._get(kind, identifier, stop=self.cancelled)
        except Failed as error:
            if error.code in ("ResourceNotFoundException", "404"):
                return None
            raise

    def update(
        self, kind: str, identifier: str, patch: list[Any], say: Callable[[str, bool], None]
    ) -> dict[str, Any]:
        """Its properties after the patch."""
        given = {"TypeName": kind, "Identifier": identifier, "PatchDocument": _json(patch)}
        try:
            self._retried("UpdateResource", given, say, stop=self.cancelled)
        except _Ended as ended:
            raise Failed(str(ended)) from ended
        try:
            return self._get(kind, identifier, stop=self.cancelled)
        except Failed as error:
            raise Failed(f"reading resource state: {error}", cancelled=error.cancelled) from error

    def delete(self, kind: str, identifier: str, say: Callable[[str, bool], None]) -> None:
        """Remove it. A resource that the handler doesn't find is fine."""
        given = {"TypeName": kind, "Identifier": identifier}
        try:
            self._retried("DeleteResource", given, say, stop=self.cancelled)
        except _Ended as ended:
            if ended.event.get("ErrorCode") != "NotFound":
                raise Failed(str(ended)) from ended

    def _get(self, kind: str, identifier: str, *, stop: threading.Event | None) -> dict[str, Any]:
        asked = {"TypeName": kind, "Identifier": identifier}
        found = self._call("GetResource", asked, stop=stop)
        # A proxy's page, which botocore reads as an empty answer.
        if "ResourceDescription" not in found:
            request = found["ResponseMetadata"].get("RequestId", "")
            raise Failed(
                "operation error CloudControl: GetResource, https response error StatusCode: 200,"
                f" RequestID: {request}, deserialization failed, failed to decode response body"
            )
        properties: dict[str, Any] = json.loads(found["ResourceDescription"]["Properties"])
        return properties

    def _retried(
        self,
        operation: str,
        given: dict[str, Any],
        say: Callable[[str, bool], None],
        *,
        stop: threading.Event | None,
    ) -> dict[str, Any]:
        """Begin a request and wait for it. A request that ends in throttling is begun again."""
        for attempt in range(1, self.attempts + 1):
            token = {"ClientToken": str(uuid.uuid4())}
            event = self._call(operation, {**given, **token}, stop=stop)["ProgressEvent"]
            try:
                return self._ended(event, stop=stop)
            except _Ended as ended:
                if ended.event.get("ErrorCode") not in _RETRIED_EVENTS:
                    raise
                if attempt == self.attempts:
                    say("Exhausted retry attempts", True)
                    raise
                seconds = min(2**attempt * random.random(), 20)  # noqa: S311  # jitter
                say(
                    f'Retrying after "{ended.event["ErrorCode"]}" error'
                    f" (attempt {attempt}/{self.attempts}, waiting {seconds:.6f}s)",
                    False,
                )
                if (stop or threading.Event()).wait(seconds):
                    raise Failed("context canceled", cancelled=True) from ended
        raise AssertionError("the last attempt returns or raises")

    def _ended(self, event: dict[str, Any], *, stop: threading.Event | None) -> dict[str, Any]:
        """The event of a request's success. Raises _Ended for any other end."""
        pause, hooks, asked = _SHORTEST_POLL_SECONDS, list[dict[str, Any]](), False
        while True:
            status = event["OperationStatus"]
            if status == "SUCCESS":
                return event
            if status == "FAILED" and asked:
                raise _Ended(event, event.get("StatusMessage", ""), hooks)
            if status not in ("IN_PROGRESS", "PENDING", "FAILED"):
                raise Failed(f'unknown status "{status}": {event}')
            if (stop or threading.Event()).wait(pause):
                raise Failed("context canceled", cancelled=True)
            pause = min(pause * 2, _LONGEST_POLL_SECONDS)
            answer, asked = self._status(event, stop=stop), True
            event, hooks = answer["ProgressEvent"], answer.get("HooksProgressEvent") or []

    def _status(self, event: dict[str, Any], *, stop: threading.Event | None) -> dict[str, Any]:
        asked = {"RequestToken": event["RequestToken"]}
        try:
            return self._call("GetResourceRequestStatus", asked, stop=stop)
        except Failed as error:
            told = f"getting resource request status: {error}"
            raise Failed(told, code=error.code, cancelled=error.cancelled) from error

    def _call(
        self, operation: str, given: dict[str, Any], *, stop: threading.Event | None
    ) -> dict[str, Any]:
        """One operation, repeated as the SDK repeats it. Raises Failed in the SDK's words."""
        what = f"operation error CloudControl: {operation}"
        if self.client is None:
            raise Failed(f"{what}, {NO_CREDENTIALS}")
        if self.role_arn and operation != "GetResourceRequestStatus":
            given = {**given, "RoleArn": self.role_arn}
        method = getattr(self.client, _METHODS[operation])
        for attempt in range(1, self.attempts + 1):
            if stop is not None and stop.is_set():
                raise Failed(f"{what}, context canceled", cancelled=True)
            try:
                answer: dict[str, Any] = method(**given)
            except ClientError as error:
                told, code, again = self._told(error)
            except (EndpointConnectionError, ConnectionClosedError, HTTPClientError) as error:
                told, code, again = self._unreachable(error), "", True
            else:
                return answer
            if not again:
                raise Failed(f"{what}, {told}", code=code)
            if attempt == self.attempts:
                spent = f"exceeded maximum number of attempts, {self.attempts}"
                raise Failed(f"{what}, {spent}, {told}", code=code)
            (stop or threading.Event()).wait(min(2 ** (attempt - 1) * random.random(), 20))  # noqa: S311  # jitter
        raise AssertionError("the last attempt returns or raises")

    def _told(self, error: ClientError) -> tuple[str, str, bool]:
        answer, meta = error.response["Error"], error.response["ResponseMetadata"]
        code, status = answer["Code"], meta["HTTPStatusCode"]
        operation = error.operation_name
        model = self.client.meta.service_model.operation_model(operation)
        modelled = code in {shape.name for shape in model.error_shapes}
        said = f"{'' if modelled else 'api error '}{code}: {answer.get('Message', '')}"
        told = (
            f"https response error StatusCode: {status},"
            f" RequestID: {meta.get('RequestId', '')}, {said}"
        )
        throttled = code == "HandlerFailureException" and "throttl" in said.lower()
        return told, code, code in _TRANSIENT or status >= 500 or throttled

    def _unreachable(self, error: Exception) -> str:
        url = self.client.meta.endpoint_url
        host = url.partition("://")[2]
        said = (
            f"dial tcp {host}: connect: connection refused"
            if isinstance(error, EndpointConnectionError)
            else "EOF"
        )
        return (
            "https response error StatusCode: 0, RequestID: , request send failed,"
            f' Post "{url}/": {said}'
        )


class _Ended(Exception):
    """A request ended without success."""

    def __init__(self, event: dict[str, Any], told: str, hooks: list[dict[str, Any]]) -> None:
        if failed := [one for one in hooks if "FAIL" in str(one.get("HookStatus", ""))]:
            names = ("HookTypeName", "HookTypeArn", "HookTypeVersionId", "HookEventTime")
            shown = ("HookName", "HookArn", "HookVersion", "Time")
            described = "; ".join(
                ", ".join(
                    f"{text}: {_time(one.get(name))}"
                    for name, text in zip(names, shown, strict=True)
                )
                + f", HookMessage: {one.get('HookStatusMessage', '')}"
                for one in failed
            )
            told = f"Hook failed. Hook failures: {described}"
        operation, code = event.get("Operation"), event.get("ErrorCode")
        super().__init__(f'operation {operation} failed with "{code}": {told}')
        self.event = event


def _time(value: Any) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if hasattr(value, "strftime") else str(value)


_METHODS = {
    "CreateResource": "create_resource",
    "UpdateResource": "update_resource",
    "DeleteResource": "delete_resource",
    "GetResource": "get_resource",
    "GetResourceRequestStatus": "get_resource_request_status",
}


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
