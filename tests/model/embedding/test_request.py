from typing import Any

import pytest

from model.embedding.request import BadRequestError, read_request


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"body": {"input": "a"}}, (["a"], "document")),
        ({"body": {"input": ["a", "b"], "kind": "query"}}, (["a", "b"], "query")),
        ({"body": b'{"input": "a"}'}, (["a"], "document")),
        ({"data": bytearray(b'{"input": "a"}')}, (["a"], "document")),
    ],
)
def test_what_torchserve_passes_is_read(request_: dict[str, Any], expected: object) -> None:
    assert read_request(request_) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the body is not JSON"),
        (None, "expected"),
        ([], "expected"),
        ({}, "expected"),
        ({"input": 3}, "'input' must be a string or an array of strings"),
        ({"input": ["a", 3]}, "'input' must be a string or an array of strings"),
        ({"input": []}, "'input' is empty"),
        ({"input": ["a", " "]}, "'input' 1 is empty"),
        ({"input": ["a"] * 257}, "'input' has 257 texts, at most 256 are answered at once"),
        ({"input": "a" * 50_001}, "'input' 0 has 50001 characters, at most 50000 are read"),
        ({"input": "a", "kind": "poem"}, "'kind' must be query or document"),
    ],
)
def test_a_bad_request_says_what_is_wrong(body: object, message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        read_request({"body": body})
