"""What setting up can fail with."""

from __future__ import annotations


class SetupError(Exception):
    """A step can't be done. The message is one line that names what is missing and what to do about it."""
