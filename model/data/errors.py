"""What can be wrong with a data set, collected so that a person sees the first ten at once."""

from collections.abc import Iterator
from dataclasses import dataclass, field

SHOWN = 10


class DataError(ValueError):
    """A data set can't be used; the message names file, line and field of the first ten errors and their count."""


class DataChangedError(DataError):
    """A file of the data set changed while it was being read."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record came from.

    Attributes:
        file: The file's name within the data set's folder.
        line: Line (or, in XML and CSV, record) number, counted from 1; 0 means the file as a whole.
    """

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(slots=True)
class Problems:
    """Errors and warnings met in one pass over a data set.

    Attributes:
        errors: The first ten errors, in the order met.
        count: How many errors there were.
    """

    errors: list[str] = field(default_factory=list)
    count: int = 0
    _warnings: dict[str, tuple[Place, int]] = field(default_factory=dict)

    def error(self, place: Place, message: str) -> None:
        """Records an error that makes the data set unusable."""
        self.count += 1
        if len(self.errors) < SHOWN:
            self.errors.append(f"{place}: {message}")

    def warning(self, place: Place, message: str) -> None:
        """Records something that has a stated default; equal messages are counted, the first place is kept."""
        first, count = self._warnings.get(message, (place, 0))
        self._warnings[message] = (first, count + 1)

    def warnings(self) -> Iterator[str]:
        """Yields one line per kind of warning, with its count and first place."""
        for message, (place, count) in self._warnings.items():
            yield f"{message}: {count} record{'s' if count != 1 else ''}, first at {place}"

    def raise_errors(self, folder: str) -> None:
        """Raises when there was any error.

        Raises:
            DataError: With the first ten errors and the count of the rest.
        """
        if not self.count:
            return
        if self.count == 1:
            raise DataError(f"{folder}: {self.errors[0]}")
        lines = [f"{folder}: {self.count} errors", *(f"  {line}" for line in self.errors)]
        if self.count > len(self.errors):
            lines.append(f"  and {self.count - len(self.errors)} more")
        raise DataError("\n".join(lines))
