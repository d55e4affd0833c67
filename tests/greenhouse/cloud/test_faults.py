"""Faults of the cloud: expired credentials, and a death before or after each kind of call."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from greenhouse.faults import Faults
from tests.greenhouse.cloud.conftest import CloudProcess


def test_expired_credentials_stop_people_and_not_devices(
    cloud_of_its_own: CloudProcess,
    recipe: Callable[..., dict[str, Any]],
    unique: Callable[[str], str],
) -> None:
    cloud = cloud_of_its_own.start()
    name = unique("com.example.one")
    client = cloud.client(retries=0)
    client.create_component_version(inlineRecipe=json.dumps(recipe(ComponentName=name)).encode())
    Faults(cloud.store.parent).set("expired-credentials")
    with pytest.raises(ClientError) as refused:
        client.list_components()
    assert refused.value.response["Error"]["Code"] == "ExpiredTokenException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    found = client.resolve_component_candidates(
        platform={"attributes": {"os": "linux"}},
        componentCandidates=[{"componentName": name, "versionRequirements": {"a": ">=1.0.0"}}],
    )
    assert found["resolvedComponentVersions"], "a device's certificate is another thing"
    Faults(cloud.store.parent).clear()
    assert client.list_components()["components"]


@pytest.mark.parametrize(("fault", "done"), [("crash-before", 0), ("crash-after", 1)])
def test_a_cloud_killed_around_a_call_has_done_it_wholly_or_not_at_all(
    cloud_of_its_own: CloudProcess, recipe: Callable[..., dict[str, Any]], fault: str, done: int
) -> None:
    cloud = cloud_of_its_own.start()
    Faults(cloud.store.parent).set(f"{fault}:CreateComponentVersion")
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        cloud.client(retries=0).create_component_version(inlineRecipe=json.dumps(recipe()).encode())
    assert cloud.ends() == -signal.SIGKILL
    cloud.start()
    assert len(cloud.client().list_components()["components"]) == done
