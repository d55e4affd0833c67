"""Keeps the cloud's state in one SQLite file, which survives `kill -9` at any moment.

Each call that changes something is one transaction, which includes the answer kept for its client
token. So a call has either happened and is remembered, or it has not happened.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from infra.errors import told

SCHEMA_VERSION = 2

_SCHEMA = """
CREATE TABLE component (
    arn TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL,
    recipe TEXT NOT NULL, created REAL NOT NULL
) STRICT;
CREATE TABLE target (
    arn TEXT PRIMARY KEY, revision INTEGER NOT NULL, latest TEXT NOT NULL
) STRICT;
CREATE TABLE deployment (
    id TEXT PRIMARY KEY, target TEXT NOT NULL, revision INTEGER NOT NULL,
    status TEXT NOT NULL, created REAL NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE TABLE device (
    thing TEXT PRIMARY KEY, document TEXT NOT NULL, reported REAL NOT NULL
) STRICT;
CREATE TABLE installed (
    thing TEXT NOT NULL, component TEXT NOT NULL, document TEXT NOT NULL,
    changed REAL NOT NULL, reported REAL NOT NULL, PRIMARY KEY (thing, component)
) STRICT;
CREATE TABLE execution (
    thing TEXT NOT NULL, deployment TEXT NOT NULL, target TEXT NOT NULL, document TEXT NOT NULL,
    status TEXT NOT NULL, created REAL NOT NULL, modified REAL NOT NULL,
    PRIMARY KEY (thing, deployment)
) STRICT;
CREATE TABLE tag (
    arn TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (arn, key)
) STRICT;
CREATE TABLE answer (
    operation TEXT NOT NULL, token TEXT NOT NULL, response TEXT NOT NULL, created REAL NOT NULL,
    PRIMARY KEY (operation, token)
) STRICT;
CREATE TABLE request (
    token TEXT PRIMARY KEY, client_token TEXT UNIQUE, asked TEXT NOT NULL, type TEXT NOT NULL,
    operation TEXT NOT NULL, identifier TEXT, status TEXT NOT NULL, error TEXT, message TEXT,
    changed REAL NOT NULL
) STRICT;
"""


class StoreUnusable(Exception):
    """The file can't be used. The message says what to do."""


class Store:
    """The SQLite file, one transaction at a time."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            with ExitStack() as unless_ready:
                self._db = sqlite3.connect(
                    path, timeout=0.2, isolation_level=None, check_same_thread=False
                )
                unless_ready.callback(self._db.close)
                self._db.row_factory = sqlite3.Row
                # A second cloud would answer wrongly.
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("PRAGMA journal_mode = WAL")
                # It has to survive `kill -9`, not a power cut.
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._prepare(path)
                unless_ready.pop_all()
        except sqlite3.OperationalError as error:
            raise StoreUnusable(
                f"{path}: {error}. If another greenhouse cloud uses it, stop that cloud, or name"
                " another --store"
            ) from error
        except sqlite3.DatabaseError as error:
            raise StoreUnusable(f"{path} is no store of ours: {error}; name another") from error

    def _prepare(self, path: Path) -> None:
        with self.transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise StoreUnusable(
                    told(
                        f"{path} was written by another version of greenhouse (schema {version},"
                        f" this is {SCHEMA_VERSION}).",
                        "Name another --store, or remove the greenhouse:",
                        "make clean",
                    )
                )

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside happens, or nothing. Other threads wait."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()


def dump(document: Any) -> str:
    """The JSON that a `document` column holds."""
    return json.dumps(document, separators=(",", ":"))
