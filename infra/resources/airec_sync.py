"""One run from OpenSearch and the log into AIRec: read, compare, push what differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.resources import airec_documents
from infra.resources.airec_ledger import Ledger, LedgerFile, LinesDigest
from infra.resources.opensearch import Cluster
from model.data.records import FieldError, parse_interaction
from serving.clients.airec import AirecClient, Document, Table, UnmappableIdError, add, batches, delete

Report = Callable[[str], None]
Sources = Mapping[str, Mapping[str, Any]]

_PAGE = 1000
_KEEP_ALIVE = "5m"
_CHUNK = 8000  # interactions between two writes of the ledger


class SyncError(Exception):
    """What was read isn't what should be there."""


@dataclass(frozen=True)
class Difference:
    """Commands that turn the recorded rows of a table into the wanted ones."""

    upserts: list[Document]
    deletions: list[Document]
    fingerprints: dict[str, str]
    skipped: list[str]


def compare(
    recorded: Mapping[str, str],
    sources: Sources,
    row: Callable[[Mapping[str, Any]], Document],
    key: Callable[[str], Document],
) -> Difference:
    """Compares a table with its source.

    Args:
        recorded: fingerprints of what is in AIRec, by id.
        sources: documents of the index, by id.
        row: makes a row of a document; ids that don't fit are skipped.
        key: makes the fields by which a row is deleted.
    """
    upserts: list[Document] = []
    fingerprints: dict[str, str] = {}
    skipped: list[str] = []
    for identifier, source in sources.items():
        try:
            fields = row(source)
        except UnmappableIdError:
            skipped.append(identifier)
            continue
        fingerprints[identifier] = airec_documents.fingerprint(fields)
        if recorded.get(identifier) != fingerprints[identifier]:
            upserts.append(add(fields))
    deletions = [delete(key(identifier)) for identifier in recorded if identifier not in fingerprints]
    return Difference(upserts, deletions, fingerprints, skipped)


def read_documents(cluster: Cluster, alias: str, key: str, fields: Sequence[str]) -> Iterator[tuple[str, Document]]:
    """Every document of an index at one moment (a point in time), by id in the order of `key`.

    Raises:
        OpenSearchError: refused or gone.
        SyncError: fewer or more documents came than the index has.
    """
    opened = cluster.call("POST", f"/{alias}/_search/point_in_time", parameters={"keep_alive": _KEEP_ALIVE})
    point = {"id": opened["pit_id"], "keep_alive": _KEEP_ALIVE}
    body: Document = {"size": _PAGE, "pit": point, "sort": [{key: "asc"}], "_source": list(fields)}
    body["track_total_hits"] = True
    count = 0
    try:
        while True:
            found = cluster.call("POST", "/_search", body)["hits"]
            rows, total = found["hits"], found["total"]["value"]
            for hit in rows:
                yield str(hit["_id"]), hit["_source"]
            count += len(rows)
            if len(rows) < _PAGE:
                break
            body["search_after"] = rows[-1]["sort"]
    finally:
        cluster.call("DELETE", "/_search/point_in_time", {"pit_id": [point["id"]]})
    if count != total:
        raise SyncError(f"{alias}: read {count} documents of {total}")


@dataclass
class Synchronisation:
    """Brings AIRec's tables up to date.

    The ledger is written before and after each table, so that an interrupted run is simply run again.
    """

    client: AirecClient
    instance_id: str
    scene_id: str
    file: LedgerFile
    ledger: Ledger
    report: Report

    def items(self, sources: Sources) -> None:
        """Pushes new and changed items and deletes those that are gone."""
        self._table("item", self.ledger.items, sources, self._item, airec_documents.item_key)

    def users(self, sources: Sources) -> None:
        """Pushes new users and deletes those that are gone."""
        self._table("user", self.ledger.users, sources, airec_documents.user, airec_documents.user_key)

    def _item(self, source: Mapping[str, Any]) -> Document:
        return airec_documents.item(source, self.scene_id)

    def _table(
        self,
        name: Table,
        recorded: dict[str, str],
        sources: Sources,
        row: Callable[[Mapping[str, Any]], Document],
        key: Callable[[str], Document],
    ) -> None:
        difference = compare(recorded, sources, row, key)
        if difference.skipped:
            self.ledger.skipped += len(difference.skipped)
            self.report(
                f"{len(difference.skipped)} {name}s are left out of AIRec, their ids don't fit its 50 letters and"
                f" digits: {', '.join(difference.skipped[:3])}"
            )
        # Noted before it is pushed: a run that is cut off must neither forget rows nor take them for up to date.
        wanted = difference.fingerprints
        recorded.update({identifier: "" for identifier in wanted if recorded.get(identifier) != wanted[identifier]})
        self.file.save(self.ledger)
        commands = [*difference.upserts, *difference.deletions]
        self._push(name, commands)
        recorded.clear()
        recorded.update(wanted)
        self.file.save(self.ledger)

    def _push(self, name: Table, commands: Sequence[Document]) -> None:
        done = 0
        for batch in batches(commands):
            self.client.push(self.instance_id, name, batch)
            done += len(batch)
            self.report(f"AIRec {self.instance_id}: {done:,} of {len(commands):,} documents of the table {name}")

    def behaviors(self, log: bytes) -> None:
        """Pushes the interactions that aren't in AIRec yet, in the order of the log.

        Behaviours can't be changed or deleted in AIRec. When the log was rewritten instead of continued, those newer
        than everything pushed before are pushed, and the rest stays as it is.

        Raises:
            SyncError: a line isn't an interaction.
        """
        lines = log.splitlines()
        ledger, digest = self.ledger, LinesDigest()
        start, after = ledger.behaviors, -1
        if ledger.behaviors and digest.add(lines[:start]) != ledger.behaviors_digest:
            self.report("the interactions were rewritten: AIRec keeps the behaviours it has, newer ones are added")
            start, after, digest = 0, ledger.last, LinesDigest()
        for first in range(start, len(lines), _CHUNK):
            chunk = lines[first : first + _CHUNK]
            rows = [self._behavior(line, number, after) for number, line in enumerate(chunk, start=first + 1)]
            self._push("behavior", [row for row in rows if row is not None])
            ledger.behaviors, ledger.behaviors_digest = first + len(chunk), digest.add(chunk)
            self.file.save(ledger)

    def _behavior(self, line: bytes, number: int, after: int) -> Document | None:
        try:
            interaction, _ = parse_interaction(json.loads(line))
        except (ValueError, FieldError) as error:
            raise SyncError(f"interactions.jsonl, line {number}: {error}") from error
        moment = int(interaction.timestamp.timestamp())
        if moment <= after or interaction.item_id not in self.ledger.items:
            return None
        self.ledger.last = max(self.ledger.last, moment)
        try:
            return add(airec_documents.behavior(interaction, self.scene_id))
        except UnmappableIdError:
            return None

    def clear(self) -> None:
        """Deletes every item and user that was pushed; behaviours can't be deleted."""
        self._push("item", [delete(airec_documents.item_key(name)) for name in self.ledger.items])
        self._push("user", [delete(airec_documents.user_key(name)) for name in self.ledger.users])
