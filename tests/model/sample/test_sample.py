import time
from collections import Counter
from pathlib import Path

from model.data import open_dataset
from model.sample import Sample, ensure
from model.sample.generator import SamplePlant
from model.sample.jargon import COMPONENTS, FAULTS


def test_equal_seeds_give_equal_data(sample: Sample) -> None:
    assert Sample().digest == sample.digest
    assert Sample(seed=8).digest != sample.digest


def test_it_has_what_the_readme_says(sample: Sample) -> None:
    assert sample.summary.count("documents.jsonl") == 600
    assert sample.summary.count("interactions.jsonl") > 4_000
    assert sample.summary.count("queries.jsonl") == 480
    assert len({interaction.user_id for interaction in sample.interactions()}) == 120
    assert not sample.summary.warnings


def test_names_have_nothing_in_common() -> None:
    names = Counter(
        name for thing in (*COMPONENTS, *FAULTS) for name in (thing.catalogue, thing.bench, *thing.floor, thing.plain)
    )
    assert max(names.values()) == 1
    for thing in (*COMPONENTS, *FAULTS):
        words = [set(name.split()) for name in (thing.catalogue, thing.bench, " ".join(thing.floor))]
        assert sum(map(len, words)) == len(set().union(*words))


def test_names_of_the_floor_are_in_no_document(sample: Sample) -> None:
    words = {word.strip(".,:") for d in sample.documents() for word in f"{d.title} {d.text}".lower().split()}
    floor = {name for thing in COMPONENTS for name in thing.floor if " " not in name}
    assert not floor & words


def test_users_drift() -> None:
    plant = SamplePlant(7)
    lines = {document.id: document.tags[0] for document in plant.documents}
    drifted = 0
    for user in {interaction.user_id for interaction in plant.interactions}:
        seen = [lines[i.item_id] for i in plant.interactions if i.user_id == user]
        first, last = seen[: len(seen) // 4], seen[-(len(seen) // 4) :]
        drifted += Counter(first).most_common(1)[0][0] != Counter(last).most_common(1)[0][0]
    assert drifted > 90


def test_nothing_is_looked_at_before_it_exists() -> None:
    plant = SamplePlant(7)
    created = {document.id: document.created_at for document in plant.documents}
    for interaction in plant.interactions:
        time_of_creation = created[interaction.item_id]
        assert time_of_creation is not None
        assert time_of_creation <= interaction.timestamp


def test_ensure_is_quick_and_writes_once(tmp_path: Path, sample: Sample) -> None:
    started = time.monotonic()
    folder = ensure(tmp_path / "sample")
    assert time.monotonic() - started < 5
    assert open_dataset(folder).digest == sample.digest
    before = (folder / "documents.jsonl").stat().st_mtime_ns
    ensure(folder)
    assert (folder / "documents.jsonl").stat().st_mtime_ns == before
    (folder / "MANIFEST.json").unlink()
    ensure(folder)
    assert (folder / "MANIFEST.json").is_file()
