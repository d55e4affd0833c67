"""The device's calls to its cloud: deployments by long poll, reports, recipes.

boto3 makes the calls that devices make to the public API. The others replace shadow, jobs and fleet
status messages, and are private to greenhouse (see `greenhouse.cloud.server`). All calls block, so
they are made from threads. The poll has a thread of its own, and the end doesn't wait for it.
"""

from __future__ import annotations

import json
import logging
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from greenhouse.device.errors import AWS_ERRORS, DeploymentFailed, ErrorCode
from greenhouse.device.recipe.resolve import Requirements
from greenhouse.faults import Faults
from greenhouse.home import REGION
from greenhouse.signatures import sign

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_iot import IoTClient

log = logging.getLogger(__name__)

WAIT_SECONDS = 20
RETRY_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0  # For an answer, on top of the poll's own wait.


class Rejected(Exception):
    """The cloud understood the report and refused it. Sending it again is no use."""


class Cloud(Protocol):
    """What a device needs from its cloud. Every method but `follow` blocks."""

    def follow(self, listed: Callable[[list[dict[str, Any]]], None]) -> None:
        """Call back from a thread with the deployments in force, at once and at every change."""

    def report(self, body: Mapping[str, Any]) -> None:
        """Send a report. Raises Rejected, or OSError if the cloud can't be reached."""

    def choose(
        self, component: str, requirements: Requirements, attributes: Mapping[str, str]
    ) -> dict[str, Any] | None:
        """The recipe of the version that the cloud chooses, or None if no version fits."""

    def groups(self) -> set[str] | None:
        """The ARNs of the thing's groups, or None if they can't be found out."""


class AccountCloud:
    """One thing's cloud, at the addresses in the environment."""

    def __init__(
        self,
        *,
        thing: str,
        endpoint: str,
        greengrass: GreengrassV2Client,
        iot: IoTClient,
        credentials: Credentials,
        faults: Faults,
    ) -> None:
        self._faults, self._credentials = faults, credentials
        self._thing, self._greengrass, self._iot = thing, greengrass, iot
        self._base = f"{endpoint.rstrip('/')}/device/{urllib.parse.quote(thing, safe='')}"

    def follow(self, listed: Callable[[list[dict[str, Any]]], None]) -> None:
        threading.Thread(
            target=self._follow, args=(listed, threading.Event()), name="poll", daemon=True
        ).start()

    def _follow(
        self, listed: Callable[[list[dict[str, Any]]], None], pause: threading.Event
    ) -> None:
        seen: int | None = None
        reachable = True
        while True:
            wait = 0 if seen is None else WAIT_SECONDS
            try:
                answer = self._call(f"deployments?seen={seen or 0}&wait={wait}", wait)
            except (OSError, ValueError) as error:
                if reachable:
                    log.warning("no deployments from the cloud, still trying: %s", error)
                reachable = False
                pause.wait(RETRY_SECONDS)
                continue
            if not reachable:
                log.info("the cloud answers again")
            reachable = True
            if answer["seen"] != seen:
                seen = answer["seen"]
                listed(answer["deployments"])

    def report(self, body: Mapping[str, Any]) -> None:
        try:
            self._call("report", 0, body)
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise Rejected(f"{error}: {error.read().decode(errors='replace')}") from error
            raise

    def _call(self, path: str, wait: float, body: Mapping[str, Any] | None = None) -> Any:
        self._check_clock()
        url, data = f"{self._base}/{path}", b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        headers = sign(
            self._credentials,
            region=REGION,
            service="greengrass",
            method=method,
            url=url,
            body=data,
            headers={"content-type": "application/json"},
        )
        request = urllib.request.Request(  # noqa: S310  # the endpoint is our environment's
            url, data=data or None, headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=wait + TIMEOUT_SECONDS) as response:  # noqa: S310
            answer = json.load(response)
        self._check_clock()  # An answer that came meanwhile over an open connection doesn't count.
        return answer

    def _check_clock(self) -> None:
        if self._faults.detail("clock") is not None:
            raise ssl.SSLCertVerificationError("certificate verify failed: not yet valid")

    def choose(
        self, component: str, requirements: Requirements, attributes: Mapping[str, str]
    ) -> dict[str, Any] | None:
        try:
            answer = self._greengrass.resolve_component_candidates(
                platform={"attributes": dict(attributes)},
                componentCandidates=[
                    {"componentName": component, "versionRequirements": dict(requirements)}
                ],
            )
        except self._greengrass.exceptions.ResourceNotFoundException:
            return None
        except ClientError as error:
            raise DeploymentFailed(
                f"Failed to resolve component candidates: {error}",
                ErrorCode.NO_AVAILABLE_COMPONENT_VERSION,
            ) from error
        except AWS_ERRORS as error:
            log.warning("%s: the cloud can't be asked: %s", component, error)
            return None
        recipe: dict[str, Any] = json.loads(answer["resolvedComponentVersions"][0]["recipe"])
        return recipe

    def groups(self) -> set[str] | None:
        try:
            pages = self._iot.get_paginator("list_thing_groups_for_thing").paginate(
                thingName=self._thing
            )
            return {group["groupArn"] for page in pages for group in page["thingGroups"]}
        except AWS_ERRORS as error:
            log.warning("the thing's groups can't be asked for, all are kept: %s", error)
            return None
