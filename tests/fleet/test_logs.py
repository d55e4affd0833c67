"""A device's log: by the command in FLEET_LOGS, or in words that tell the way to the device."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet.logs import COMMAND, EXAMPLE, LINES, LOG_MANAGER, NoLog, answered, last_answer, tail
from fleet.observe import Component, Device
from fleet.stacks import ROOT
from infra.account.clients import Clients
from infra.account.logs import log_group
from infra.names import CONSUMER, SERVICE
from tests.infra.fakes import REGION, Account

NOBODY = Clients(region="eu-west-1", profile=None)
EVENT = (
    '{{"time": "{at}+00:00", "event": "answer", "rows": 6, "predictions": [], "model": "abc",'
    ' "ms": 1.5}}'
)
JAVA = (
    f"{{at}}.123Z [INFO] (Copier) com.ml.consumer: stdout. {EVENT}."
    " {{scriptName=services.com.ml.consumer.lifecycle.run.Script, serviceName=com.ml.consumer,"
    " currentState=RUNNING}}"
)
LITE = f"Nov 23 12:00:00 press-1 com.ml.consumer[4711]: {EVENT}"


def device(runtime: str = "aws_nucleus_classic") -> Device:
    consumer = Component(
        name=CONSUMER, version="1.0.0", state="RUNNING", reason="", source="", wanted="", ours=True
    )
    return Device(
        name="press-1",
        health="HEALTHY",
        heard=datetime(2026, 1, 1, tzinfo=UTC),
        platform="linux",
        architecture="amd64",
        runtime=runtime,
        nucleus="2.18.0",
        components=(consumer,),
        timeline=(),
        drift=(),
    )


@pytest.mark.parametrize(
    ("runtime", "place"),
    [
        ("aws_nucleus_classic", "/greengrass/v2/logs/com.ml.xgboost.log"),
        ("aws_nucleus_lite", "journalctl -u ggl.com.ml.xgboost.service"),
    ],
)
def test_a_log_that_nothing_uploads_is_told_with_its_place_on_the_device(
    runtime: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(COMMAND, raising=False)
    with pytest.raises(NoLog, match=place):
        tail(NOBODY, device(runtime), SERVICE)


@pytest.mark.parametrize("line", [JAVA, LITE], ids=["a nucleus' log", "Lite's journal"])
def test_a_command_of_one_s_own_reaches_the_device(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / f"press-1.{CONSUMER}.log"
    times = ("2026-01-01T00:00:01", "2026-01-01T00:00:02")
    answers = "".join(f"{line.format(at=at)}\n" for at in times)
    log.write_text("begin\n" * LINES + answers + "no event: { at all\n")
    monkeypatch.setenv(COMMAND, f"tail -n {{lines}} {tmp_path}/{{device}}.{{component}}.log")
    assert len(tail(NOBODY, device(), CONSUMER)) == LINES
    found = answered(NOBODY, device(), CONSUMER)
    assert not isinstance(found, str)
    assert (found.at.second, found.rows, found.milliseconds) == (2, 6, 1.5), "the last one"


def test_a_command_that_fails_is_told_as_it_was_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMAND, "cat /nowhere/{device}/{component}")
    with pytest.raises(NoLog, match=rf"No such file.*\n.*\n    cat /nowhere/press-1/{SERVICE}"):
        tail(NOBODY, device(), SERVICE)


def test_a_component_that_is_not_there_is_told_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(COMMAND, "cat /nowhere/{device}/{component}")
    with pytest.raises(NoLog, match=f"press-1 has no component x; it has {CONSUMER}. It runs:"):
        tail(NOBODY, device(), "x")
    with pytest.raises(NoLog, match=r"\nIt runs:\n"):
        tail(NOBODY, device(), CONSUMER)


@pytest.mark.parametrize("command", ["echo {host}", "echo {0}", "echo {", "echo '{device}"])
def test_a_wrong_command_is_named_with_what_it_may_name(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMMAND, command)
    with pytest.raises(NoLog, match=r"no command with {device}, {component} and {lines}\."):
        tail(NOBODY, device(), SERVICE)


def test_setting_up_a_device_and_missing_a_log_name_the_same_command() -> None:
    assert f"\n    export {COMMAND}='{EXAMPLE}'\n" in (ROOT / "docs/core-device.md").read_text()


def test_a_log_without_an_answer_gives_no_answer() -> None:
    assert last_answer(["started", '{"event": "ready"}']) is None


def test_uploaded_logs_are_read_from_as_many_days_as_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(COMMAND, raising=False)
    account = Account.with_a_device(monkeypatch)
    logging = replace(device().components[0], name=LOG_MANAGER)
    there = replace(device(), components=(*device().components, logging))
    now, group = datetime.now(UTC), log_group(REGION, CONSUMER)
    for ago, count in ((2, LINES), (1, LINES - 1), (0, 1)):
        day = now - timedelta(days=ago)
        account.logs[group, f"/{day:%Y/%m/%d}/thing/press-1"] = [f"{ago}"] * count
    clients = Clients(region=REGION, profile=None)
    assert tail(clients, there, CONSUMER) == [*["1"] * (LINES - 1), "0"]
    with pytest.raises(NoLog, match=f"uploaded nothing of {SERVICE}"):
        tail(clients, there, SERVICE)
