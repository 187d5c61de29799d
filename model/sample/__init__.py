"""The sample domain: a data set in the contract's form, written by the project itself from a seed."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from model.data.dataset import MANIFEST, DataSet, Located, write_contract
from model.data.errors import Place, Problems
from model.data.records import Document, Interaction, Judgment, Query
from model.sample.generator import SamplePlant

SEED = 7
"""The seed that documentation and tests speak of."""
_MARKER = ".sample"


class Sample(DataSet):
    """The generated records as a data set."""

    format = "sample"

    def __init__(self, seed: int = SEED) -> None:
        super().__init__(Path(f"sample {seed}"))
        self._plant = SamplePlant(seed)

    def files(self) -> list[Path]:
        """None: the records come from code."""
        return []

    def read_documents(self, problems: Problems) -> Located[Document]:
        """Yields the plant's documents."""
        del problems
        return ((Place("documents", number), record) for number, record in enumerate(self._plant.documents, 1))

    def read_interactions(self, problems: Problems) -> Located[Interaction]:
        """Yields what the plant's people looked at."""
        del problems
        return ((Place("interactions", number), record) for number, record in enumerate(self._plant.interactions, 1))

    def read_queries(self, problems: Problems) -> Located[Query]:
        """Yields judged searches."""
        del problems
        return ((Place("queries", number), record) for number, record in enumerate(self._plant.queries, 1))

    def read_judgments(self, problems: Problems) -> Located[Judgment]:
        """Yields the judgments."""
        del problems
        return ((Place("judgments", number), record) for number, record in enumerate(self._plant.judgments, 1))


def ensure(folder: str | Path, seed: int = SEED) -> Path:
    """Writes the sample into a folder unless it is there already, written by the same code and seed.

    Returns:
        The folder.

    Raises:
        OSError: The folder can't be written.
    """
    folder = Path(folder)
    sources = b"".join(path.read_bytes() for path in _sources())
    marker = f"{seed} {hashlib.sha256(sources).hexdigest()}\n"
    path = folder / _MARKER
    if not (path.is_file() and path.read_text(encoding="utf-8") == marker and (folder / MANIFEST).is_file()):
        path.unlink(missing_ok=True)
        write_contract(Sample(seed), folder)
        path.write_text(marker, encoding="utf-8")
    return folder


def _sources() -> Iterator[Path]:
    here = Path(__file__).parent
    yield from sorted(here.glob("*.py"))
    yield from sorted((here.parent / "data").glob("*.py"))
