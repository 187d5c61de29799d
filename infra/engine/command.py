"""How every command ends: what can be expected to go wrong is one line on standard error, never a traceback."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable
from types import FrameType

from infra.engine.errors import SetupError

INTERRUPTED = 130


def conclude(name: str, work: Callable[[], int], *expected: type[Exception]) -> int:
    """Do the work of a command.

    Args:
        name: The command as a person types it, ``scripts/up``.
        work: Returns the exit status.
        expected: Errors whose message is for a person as it is; `SetupError` always is.

    Returns:
        The exit status: 1 after an error, 130 after Ctrl-C or SIGTERM.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    refusals: tuple[type[Exception], ...] = (SetupError, *expected)
    try:
        return work()
    except refusals as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {described(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: run {name} again to go on", file=sys.stderr)
        return INTERRUPTED


def described(error: OSError) -> str:
    """What the system refused, on which file, and what to do about a full disk."""
    words = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        words += ": make room there, or set RAGREC_CACHE and RAGREC_STATE to larger disks"
    return words


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
