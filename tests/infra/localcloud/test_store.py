"""Documents: kept, rolled back, shared between threads and processes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from infra.localcloud.store import Store


def test_documents_survive(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    store.collection("a").put("k", {"n": 1})
    store.close()
    again = Store(tmp_path / "db")
    assert again.collection("a").get("k") == {"n": 1}
    assert again.collections() == ["a"]
    assert (tmp_path / "db").stat().st_mode & 0o777 == 0o600
    again.close()


def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    documents = store.collection("a")

    def fail() -> None:
        with store.transaction():
            documents.put("outer", {})
            with store.transaction():
                documents.put("inner", {})
                raise RuntimeError("inner")

    with pytest.raises(RuntimeError, match="inner"):
        fail()
    assert documents.keys() == []
    store.close()


def test_updates_from_many_threads_all_count(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    documents = store.collection("a")
    documents.put("k", {"n": 0})

    def add() -> None:
        for _ in range(50):
            documents.update("k", lambda document: document.update(n=document["n"] + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert documents.get("k") == {"n": 200}
    with pytest.raises(KeyError):
        documents.update("gone", lambda document: None)
    store.close()


def test_prefixes_and_order(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    documents = store.collection("a")
    for key in ("b/2", "a", "b/1", "b%", "ä"):
        documents.put(key, {})
    assert documents.keys() == ["a", "b%", "b/1", "b/2", "ä"]
    assert documents.keys("b/") == ["b/1", "b/2"]
    assert documents.delete("a")
    assert not documents.delete("a")
    store.close()
