"""Which format a folder is in."""

from pathlib import Path

from model.data.beir import BeirFolder
from model.data.dataset import DataSet
from model.data.errors import DataError
from model.data.folder import ContractFolder
from model.data.movielens import MovieLens
from model.data.stack_exchange import StackExchangeDump

_FORMATS: tuple[tuple[type[DataSet], tuple[str, ...]], ...] = (
    (ContractFolder, ("documents.jsonl",)),
    (BeirFolder, ("corpus.jsonl",)),
    (StackExchangeDump, ("Posts.xml",)),
    (MovieLens, ("movies.csv", "ratings.csv")),
)


def open_dataset(path: str | Path) -> DataSet:
    """Opens a data set; the files that are there decide the format.

    Nothing is read yet: `DataSet.summary`, or the first record, checks everything.

    Raises:
        DataError: There is no such folder, or it is in no known format.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: {'is not a folder' if folder.exists() else 'there is no such folder'}")
    for reader, needed in _FORMATS:
        if all((folder / name).is_file() for name in needed):
            return reader(folder)
    wanted = "; ".join(f"{' and '.join(names)} ({reader.format})" for reader, names in _FORMATS)
    raise DataError(f"{folder}: is no data set; expected one of: {wanted}")
