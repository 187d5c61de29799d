from pathlib import Path

from model.lineage import code_digest, file_digest, training_digest


def test_every_part_counts() -> None:
    given = {"data": "d", "parameters": '{"seed":1}', "base": "b", "code": "c"}
    digests = {training_digest(**{**given, name: '{"seed":2}' if name == "parameters" else "x"}) for name in given}
    assert len(digests | {training_digest(**given)}) == 5
    assert training_digest(**given) == training_digest(**{**given, "parameters": '{ "seed": 1 }'})


def test_digests_of_code_and_files(tmp_path: Path) -> None:
    assert code_digest() == code_digest()
    (tmp_path / "f").write_bytes(b"")
    assert file_digest(tmp_path / "f") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
