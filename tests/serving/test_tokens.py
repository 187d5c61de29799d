from __future__ import annotations

import pytest

from serving.tokens import Token, Tokens, bearer, digest


def test_a_token_is_found_by_its_digest() -> None:
    tokens = Tokens([Token(name="old", sha256=digest("one")), Token(name="new", sha256=digest("two"))])

    found = [tokens.find(presented) for presented in ("one", "two", "three", "")]

    assert [token and token.name for token in found] == ["old", "new", None, None]


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", ""), ("Bearer", ""), ("", ""), (None, "")],
)
def test_the_token_of_a_header(header: str | None, token: str) -> None:
    assert bearer(header) == token
