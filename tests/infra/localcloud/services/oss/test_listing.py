"""Pages of a listing, whatever the keys are: together they are the listing, and each is as full as it can be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.localcloud.services.oss.listing import page_of

KEYS = st.sets(st.text(alphabet="ab/é", min_size=1, max_size=6), max_size=12)


def expected(keys: set[str], prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
    """The rows and the common prefixes by the definition, without pages."""
    rows, prefixes = [], set()
    for key in sorted(key for key in keys if key.startswith(prefix)):
        rest = key[len(prefix) :]
        if delimiter and delimiter in rest:
            prefixes.add(prefix + rest.split(delimiter, 1)[0] + delimiter)
        else:
            rows.append(key)
    return rows, sorted(prefixes)


@settings(max_examples=300, deadline=None)
@given(KEYS, st.sampled_from(["", "a", "a/", "b"]), st.sampled_from(["", "/", "ab"]), st.integers(1, 4))
def test_pages_add_up(keys: set[str], prefix: str, delimiter: str, most: int) -> None:
    entries: list[tuple[str, dict[str, object]]] = [(key, {}) for key in sorted(keys) if key.startswith(prefix)]
    rows: list[str] = []
    prefixes: list[str] = []
    after = ""
    while True:
        page = page_of(entries, prefix, delimiter, after, most)
        rows += [key for key, _ in page.rows]
        prefixes += page.prefixes
        if not page.next:
            break
        assert len(page.rows) + len(page.prefixes) == most
        after = page.next
    assert (rows, prefixes) == expected(keys, prefix, delimiter)
