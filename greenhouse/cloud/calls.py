"""The parts that several operations share: client tokens, pages and tags."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from greenhouse.cloud.errors import RequestAlreadyInProgressException, ValidationException
from greenhouse.cloud.store import Store, dump

TOKEN_SECONDS = 8 * 3600.0  # The API's model: "caches successful responses … for up to 8 hours".
PAGE = 50  # ListDeployments documents this default. The others document none.
MAX_TAGS = 50  # The limit of a resource in AWS::GreengrassV2::ComponentVersion's schema.

Request = Mapping[str, Any]
Answer = dict[str, Any]

Item = TypeVar("Item")


class Ordered(Protocol):
    """What a page is sorted by."""

    def __lt__(self, other: Any, /) -> bool: ...


class ClientTokens:
    """Answers a repeated create call: a client token gets the answer of its first success."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._busy: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def claimed(self, operation: str, token: str | None) -> Iterator[Answer | None]:
        """Yield the earlier answer, or None if this call has to do the work.

        Raises RequestAlreadyInProgressException if another call is doing it.
        """
        if token is None:
            yield None
            return
        claim = (operation, token)
        with self._lock:
            if claim in self._busy:
                raise RequestAlreadyInProgressException(
                    f"{operation} with clientToken {token} is still being processed"
                )
            self._busy.add(claim)
        try:
            with self._store.transaction() as db:
                found = db.execute(
                    "SELECT response FROM answer WHERE operation = ? AND token = ? AND created > ?",
                    (*claim, time.time() - TOKEN_SECONDS),
                ).fetchone()
            yield json.loads(found["response"]) if found else None
        finally:
            with self._lock:
                self._busy.discard(claim)

    @staticmethod
    def keep(db: sqlite3.Connection, operation: str, token: str | None, answer: Answer) -> Answer:
        """Remember the answer in the transaction that makes it true."""
        if token is not None:
            now = time.time()
            db.execute("DELETE FROM answer WHERE created <= ?", (now - TOKEN_SECONDS,))
            db.execute(
                "INSERT INTO answer VALUES (?, ?, ?, ?)", (operation, token, dump(answer), now)
            )
        return answer


def page(
    items: Iterable[Item],
    request: Request,
    *,
    cursor: Callable[[Item], list[Any]],
    order: Callable[[list[Any]], Ordered] = tuple,
    descending: bool = False,
) -> tuple[list[Item], str | None]:
    """One page of the items, and the token of the next page or None.

    The token holds the last item's cursor. So an item that is deleted meanwhile shifts no page.
    """
    ordered = sorted(items, key=lambda item: order(cursor(item)), reverse=descending)
    if token := request.get("nextToken"):
        seen = _seen(token, order)
        ordered = [
            item
            for item in ordered
            if (order(cursor(item)) < seen if descending else seen < order(cursor(item)))
        ]
    size = request.get("maxResults", PAGE)
    if len(ordered) <= size:
        return ordered, None
    shown = ordered[:size]
    return shown, base64.urlsafe_b64encode(dump(cursor(shown[-1])).encode()).decode()


def _seen(token: str, order: Callable[[list[Any]], Ordered]) -> Ordered:
    try:
        return order(json.loads(base64.urlsafe_b64decode(token)))
    except (ValueError, TypeError) as error:
        raise ValidationException(f"nextToken {token!r} was not given out by this API") from error


def tags_of(db: sqlite3.Connection, arn: str) -> dict[str, str]:
    rows = db.execute("SELECT key, value FROM tag WHERE arn = ? ORDER BY key", (arn,))
    return {row["key"]: row["value"] for row in rows}


def put_tags(db: sqlite3.Connection, arn: str, tags: Mapping[str, str]) -> None:
    """Add tags or change their values. Keys that begin with `aws:` belong to AWS."""
    if reserved := [key for key in tags if key.lower().startswith("aws:")]:
        raise ValidationException(f"tag keys must not begin with 'aws:', found {reserved}")
    db.executemany(
        "INSERT INTO tag VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
        [(arn, key, value) for key, value in tags.items()],
    )
    if len(tags_of(db, arn)) > MAX_TAGS:
        raise ValidationException(f"a resource has at most {MAX_TAGS} tags: {arn}")


def drop_tags(db: sqlite3.Connection, arn: str, keys: Iterable[str] | None = None) -> None:
    """Remove these tags, or all tags of a deleted resource."""
    if keys is None:
        db.execute("DELETE FROM tag WHERE arn = ?", (arn,))
    else:
        db.executemany("DELETE FROM tag WHERE arn = ? AND key = ?", [(arn, key) for key in keys])
