"""The store and the client tokens, without a server."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from greenhouse.cloud.calls import ClientTokens
from greenhouse.cloud.errors import RequestAlreadyInProgressException
from greenhouse.cloud.store import Store, StoreUnusable


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")

    def half_done() -> None:
        with store.transaction() as db:
            db.execute("INSERT INTO tag VALUES ('arn', 'key', 'value')")
            raise KeyError

    with pytest.raises(KeyError):
        half_done()
    with store.transaction() as db:
        assert db.execute("SELECT * FROM tag").fetchall() == []
    store.close()


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "store.sqlite"
    if content is None:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match=str(path)):
        Store(path)
    assert path.read_bytes()[100:] == before[100:], "only SQLite's header may note the visit"


def test_a_token_in_use_is_refused_until_its_call_is_over(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    tokens = ClientTokens(store)
    with tokens.claimed("CreateDeployment", "one") as earlier:
        assert earlier is None
        with (
            pytest.raises(RequestAlreadyInProgressException),
            tokens.claimed("CreateDeployment", "one"),
        ):
            pass
        with tokens.claimed("CreateComponentVersion", "one") as other:
            assert other is None, "a token belongs to its operation"
    with tokens.claimed("CreateDeployment", "one") as earlier:
        assert earlier is None, "only successful answers are remembered"
        with store.transaction() as db:
            tokens.keep(db, "CreateDeployment", "one", {"deploymentId": "d"})
    with tokens.claimed("CreateDeployment", "one") as earlier:
        assert earlier == {"deploymentId": "d"}
    store.close()
