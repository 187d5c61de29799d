"""The local cloud's state: JSON documents in collections, kept in one SQLite file so that it survives restarts."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Document = dict[str, Any]


class Store:
    """Collections of JSON documents with serialised transactions; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        path.chmod(0o600)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS documents"
            " (collection TEXT, key TEXT, body TEXT NOT NULL, PRIMARY KEY (collection, key)) WITHOUT ROWID"
        )

    def close(self) -> None:
        """Closes the file; the store can't be used afterwards."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All reads and writes within are one unit: rolled back when the block raises; may be nested."""
        with self._lock:
            outermost = self._depth == 0
            if outermost:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if outermost:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if outermost:
                self._connection.execute("COMMIT")

    def collection(self, name: str) -> Collection:
        """The collection of that name, for example ``ecs.instance``."""
        return Collection(self, name)

    def collections(self) -> list[str]:
        """Names of the collections that hold at least one document, sorted."""
        return [row[0] for row in self._execute("SELECT DISTINCT collection FROM documents ORDER BY collection")]

    def _execute(self, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(statement, parameters).fetchall()


class Collection:
    """JSON documents by key. What is returned is a copy: write it back with `put`."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self.name = name

    def get(self, key: str) -> Document | None:
        """The document, or None."""
        rows = self._store._execute("SELECT body FROM documents WHERE collection=? AND key=?", self.name, key)
        return json.loads(rows[0][0]) if rows else None

    def put(self, key: str, document: Document) -> None:
        """Inserts or replaces the document."""
        self._store._execute(
            "INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT (collection, key) DO UPDATE SET body=excluded.body",
            self.name,
            key,
            json.dumps(document, separators=(",", ":")),
        )

    def update(self, key: str, change: Callable[[Document], None]) -> Document:
        """Applies `change` to the document in one transaction and returns the result.

        Raises:
            KeyError: there is no such document.
        """
        with self._store.transaction():
            document = self.get(key)
            if document is None:
                raise KeyError(key)
            change(document)
            self.put(key, document)
            return document

    def delete(self, key: str) -> bool:
        """Removes the document; False when it was not there."""
        with self._store.transaction():
            found = self.get(key) is not None
            self._store._execute("DELETE FROM documents WHERE collection=? AND key=?", self.name, key)
            return found

    def items(self, prefix: str = "") -> list[tuple[str, Document]]:
        """Keys with their documents, in key order, those that start with `prefix`."""
        rows = self._store._execute(
            "SELECT key, body FROM documents WHERE collection=? AND substr(key, 1, length(?))=? ORDER BY key",
            self.name,
            prefix,
            prefix,
        )
        return [(key, json.loads(body)) for key, body in rows]

    def values(self, prefix: str = "") -> list[Document]:
        """The documents in key order."""
        return [document for _, document in self.items(prefix)]

    def keys(self, prefix: str = "") -> list[str]:
        """The keys in order."""
        return [key for key, _ in self.items(prefix)]

    def __iter__(self) -> Iterator[str]:
        """Iterates over the keys, in order, as they were at this moment."""
        return iter(self.keys())
