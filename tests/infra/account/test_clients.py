"""boto3's clients: callers of the same account share them, and they are made one at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from infra.account.clients import Clients
from infra.account.context import Context
from tests.infra.fakes import CONTEXT


def test_the_dynamic_resources_of_one_region_and_profile_share_their_clients() -> None:
    known = CONTEXT.props
    one = Context.remembered(known | {"target": "somewhere"}).clients
    assert Context.remembered({**known, "stack": "press-2"}).clients is one
    assert Context.remembered({**known, "profile": "plant"}).clients is not one
    assert Context.remembered({**known, "region": "us-east-1"}).clients.region == "us-east-1"
    del known["profile"]  # The engine keeps a None.
    assert Context.remembered(known) == CONTEXT


def test_threads_that_ask_at_once_make_their_clients_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inside, together = threading.Semaphore(1), threading.Barrier(2)

    def make(service: str, **_config: Any) -> str:
        assert inside.acquire(blocking=False), "another is being made"
        together_or_alone(together)
        inside.release()
        return service

    monkeypatch.setattr(Clients, "_session", SimpleNamespace(client=make))
    clients = Clients(region="eu-west-1", profile=None)
    with ThreadPoolExecutor(2) as threads:
        made = threads.map(lambda name: getattr(clients, name), ["iot", "s3"])
    assert list(made) == ["iot", "s3"]


def together_or_alone(meeting: threading.Barrier) -> None:
    """Give a second thread the time to enter, which it must not."""
    try:
        meeting.wait(timeout=0.2)
    except threading.BrokenBarrierError:
        return
