"""Devices are asked at the same time as others: few calls, results in order, errors by name."""

from __future__ import annotations

import json
import threading
from collections import Counter
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from infra.account import clients
from infra.account.clients import AT_ONCE, Clients
from infra.account.greengrass import installed
from infra.account.many_devices import DeviceUnread, core_devices_among, each_device
from infra.account.target import Target
from infra.preflight import device, neighbours
from infra.preflight.release_needs import Wanted
from infra.rollout.clock import Clock
from infra.rollout.gate import await_devices
from infra.settings import Misconfigured
from tests.infra.fakes import (
    CONTEXT,
    GOOD,
    GROUP_ARN,
    NAME,
    REGION,
    WANTED,
    Account,
    Device,
    spec,
)
from tests.infra.pulumi_yaml import config_of, load

pytestmark = pytest.mark.usefixtures("account")


def of_a_group(account: Account, size: int) -> list[str]:
    """A group of so many devices. Each runs this stack's latest deployment."""
    account.per_page = 100
    names = [f"press-{number:03}" for number in range(1, size + 1)]
    account.groups = {"presses": names}
    deployment = account.deploy(GROUP_ARN, NAME, {name: spec(one) for name, one in WANTED.items()})
    for name in names:
        account.devices[name] = Device(installed=dict(GOOD))
        account.devices[name].deploys(deployment, "SUCCEEDED")
    return names


def preview() -> Target:
    """What a preview asks of the target and its devices."""
    settings = load(config_of(None, thing="", thing_group="presses"))
    target = Target.find(settings, CONTEXT)
    assert target
    wanted = Wanted.of(settings, CONTEXT, None)
    assert not list(device.findings(settings, target, wanted))
    assert not list(neighbours.findings(settings, CONTEXT, target, wanted))
    return target


def calls(account: Account) -> Counter[str]:
    return Counter(operation for operation, _ in account.asked)


@pytest.mark.parametrize("size", [50, 120])
def test_a_preview_asks_each_device_of_a_large_group_two_questions(
    account: Account, size: int
) -> None:
    of_a_group(account, size)
    assert len(preview().devices) == size
    assert calls(account) == {
        "DescribeThingGroup": 1,
        "ListThingsInThingGroup": -(-size // 100),
        "ListCoreDevices": -(-size // 100),
        "ListDeployments": 2,
        "GetDeployment": 1,
        "ListEffectiveDeployments": size,
        "ListInstalledComponents": size,
    }


def test_a_new_group_lists_the_account_s_devices(account: Account) -> None:
    names = of_a_group(account, 50)
    for name in names:
        account.devices[name].executions.clear()  # The deployment has reached no device.
    account.groups["presses"] = ["a-sensor", *names]
    assert list(preview().devices) == names
    assert calls(account)["GetCoreDevice"] == 0
    assert calls(account)["ListInstalledComponents"] == 0, "there is nothing to look for"


def test_a_device_that_joined_a_large_group_is_asked_for_itself(account: Account) -> None:
    names = of_a_group(account, 50)
    account.devices[names[7]].executions.clear()
    account.groups["presses"] = ["a-sensor", *names]
    assert list(preview().devices) == names
    asked = [of for operation, of in account.asked if operation == "GetCoreDevice"]
    assert sorted(of["coreDeviceThingName"] for of in asked) == ["a-sensor", names[7]]


def test_an_update_asks_each_device_two_questions_a_look(account: Account) -> None:
    names, now = of_a_group(account, 50), [0.0]
    said: list[str] = []

    def wait() -> None:
        await_devices(
            CONTEXT.clients.greengrass,
            deployment=account.deployments[-1]["deploymentId"],
            components=WANTED,
            devices=names,
            quorum=100,
            stack="dev",
            clock=Clock(
                seconds=60,
                now=lambda: now[0],
                pause=lambda seconds: now.__setitem__(0, now[0] + seconds),
            ),
            say=said.append,
        )

    wait()
    assert calls(account) == {"ListEffectiveDeployments": 100, "ListInstalledComponents": 100}
    assert [line.partition(":")[0] for line in said] == names, "told in the devices' order"


def test_an_error_of_one_device_among_many_is_told_by_its_name(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_a_group(account, 50)
    answered = account._list_installed_components

    def answer(**asked: Any) -> dict[str, Any]:
        if asked["coreDeviceThingName"] in ("press-017", "press-044"):
            return account._get_deployment(deploymentId="no such")
        return answered(**asked)

    monkeypatch.setattr(account, "_list_installed_components", answer)
    with pytest.raises(Misconfigured, match=r"press-017: .*ListInstalledComponents"):
        preview()


def test_answers_come_in_the_devices_order_and_not_as_they_arrive() -> None:
    last_is_done = threading.Event()

    def question(name: str) -> str:
        if name == "b":
            last_is_done.set()
        else:
            assert last_is_done.wait(60), "they are asked one after another"
        return name.upper()

    assert each_device(["a", "b"], question) == ["A", "B"]


def test_no_more_are_asked_at_once_than_the_client_has_connections() -> None:
    lock, now, most = threading.Lock(), [0], [0]
    full = threading.Event()

    def question(_: str) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] == AT_ONCE:
                full.set()
        assert full.wait(60)
        with lock:
            now[0] -= 1

    each_device([str(number) for number in range(4 * AT_ONCE)], question)
    assert most[0] == AT_ONCE
    client: Any = Clients(region=REGION, profile=None).greengrass
    assert client.meta.config.max_pool_connections == AT_ONCE


def test_a_throttled_request_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", pauses.append)
    asked: Counter[str] = Counter()
    client: Any = boto3.client(
        "greengrassv2",
        region_name=REGION,
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
        config=clients._PATIENT,
    )

    def answer(request: Any, **_: Any) -> Any:
        thing = request.url.split("/coreDevices/")[1].partition("/")[0]
        asked[thing] += 1
        throttled = thing == "press-2" and asked[thing] < 2
        body = json.dumps({"installedComponents": []}).encode()
        headers: Any = {"x-amzn-ErrorType": "ThrottlingException"} if throttled else {}
        found: Any = AWSResponse(request.url, 429 if throttled else 200, headers, None)
        found._content = body
        return found

    client.meta.events.register("before-send.greengrassv2", answer)
    names = ["press-1", "press-2", "press-3"]
    assert each_device(names, partial(installed, client)) == [{}, {}, {}]
    assert asked == {"press-1": 1, "press-2": 2, "press-3": 1}
    assert len(pauses) == 1, "after a pause"


def test_a_refusal_keeps_its_code_beside_the_name(account: Account) -> None:
    account.denied = {"ListInstalledComponents"}
    with pytest.raises(DeviceUnread) as failed:
        each_device(["press-1"], partial(installed, CONTEXT.clients.greengrass))
    assert clients.error_code(failed.value) == "AccessDeniedException"
    assert str(failed.value).startswith("press-1: ")


def test_a_thing_without_a_nucleus_is_no_core_device() -> None:
    found = core_devices_among(CONTEXT.clients.greengrass, GROUP_ARN, ["a-sensor", "press-1"])
    assert [one.thing for one in found] == ["press-1"]
