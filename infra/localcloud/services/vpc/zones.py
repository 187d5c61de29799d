"""The zones of a region."""

from __future__ import annotations

_LETTERS = {"cn-hangzhou": "hijk", "cn-shanghai": "bglmn", "cn-beijing": "ghijkl", "cn-shenzhen": "cdef"}


def zone_ids(region: str) -> list[str]:
    """Zone ids in order, ``cn-hangzhou-h`` and so on; other regions have the zones a and b."""
    return [f"{region}-{letter}" for letter in _LETTERS.get(region, "ab")]
