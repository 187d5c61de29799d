"""Which release is served: switched in one step, kept over restarts, with the earlier ones to go back to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from serving.recommendation.release import Release
from serving.settings import Section, mistakes

KEPT = 10  # releases, the current one among them


class Deployment(Section):
    """A release under the label by which callers know it."""

    model_version: Annotated[str, Field(min_length=1)]
    release: Release
    deployed_at: Annotated[datetime, Field(strict=False)]


class History(Section):
    """Deployments in the order in which they were made; the last one is served."""

    deployments: tuple[Deployment, ...] = ()

    @property
    def current(self) -> Deployment | None:
        """What is served."""
        return self.deployments[-1] if self.deployments else None

    @property
    def labels(self) -> list[str]:
        """The known model versions."""
        return sorted({entry.model_version for entry in self.deployments})

    def labelled(self, model_version: str) -> Release | None:
        """The release that was last deployed under a label."""
        return next((d.release for d in reversed(self.deployments) if d.model_version == model_version), None)

    def release(self, release_id: str) -> Release | None:
        """A kept release."""
        return next((d.release for d in reversed(self.deployments) if d.release.id == release_id), None)

    def then(self, deployment: Deployment) -> History:
        """The history after one more deployment; a release that comes again moves to the end."""
        others = [
            d
            for d in self.deployments
            if (d.model_version, d.release.id) != (deployment.model_version, deployment.release.id)
        ]
        return History(deployments=(*others, deployment)[-KEPT:])


class StateError(Exception):
    """The state folder cannot be used."""


class Journal:
    """The history's file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "deployments.json"

    def read(self) -> History:
        """The history; empty when nothing was ever deployed.

        Raises:
            StateError: the file is there but unusable.
        """
        try:
            return History.model_validate_json(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return History()
        except ValidationError as error:
            raise StateError(f"{self._path}: {_first(mistakes(error))}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise StateError(f"{self._path}: {error}") from None

    def write(self, history: History) -> None:
        """Replaces the file in one step, durably.

        Raises:
            StateError: the folder cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self._path.parent, prefix=".deployments.", delete=False
            ) as file:
                file.write(history.model_dump_json(indent=1))
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
        except OSError as error:
            raise StateError(f"{self._path}: {error}") from None


def _first(lines: Sequence[str]) -> str:
    return lines[0] if lines else "cannot be read"
