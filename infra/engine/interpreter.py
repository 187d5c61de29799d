"""The one Python that the project runs on. This file must be readable for every Python 3."""

import os
import shutil
import sys

VERSION = (3, 11)


def require_python(script):
    # type: (str) -> None
    """Go on only in the right Python: restart the script in one that is on PATH, or end with what to install.

    Args:
        script: Path of the running script.
    """
    if sys.version_info[:2] == VERSION:
        return
    name = "python%d.%d" % VERSION  # noqa: UP031 - must parse and run on Pythons without f-strings
    other = shutil.which(name)
    if other is not None and "RAGREC_PYTHON" not in os.environ:
        os.environ["RAGREC_PYTHON"] = other
        os.execv(other, [other, script] + sys.argv[1:])  # noqa: RUF005, S606 - as above; replaces this process
    found = ".".join(str(part) for part in sys.version_info[:3])
    sys.exit(
        "error: Python %d.%d is needed and python3 is %s: apt-get install %s python%d.%d-venv"  # noqa: UP031
        % (VERSION + (found, name) + VERSION)  # noqa: RUF005
    )


def require_environment(script):
    # type: (str) -> None
    """Go on only in the tree's virtual environment: restart the script there.

    Args:
        script: Path of the running script.
    """
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(script))), ".venv")  # noqa: PTH100, PTH118, PTH120 - as above
    python = os.path.join(folder, "bin", "python")  # noqa: PTH118
    if not os.path.exists(python):  # noqa: PTH110
        sys.exit("error: this tree is not set up: run scripts/setup")
    if os.path.realpath(sys.prefix) != os.path.realpath(folder):
        os.execv(python, [python, script] + sys.argv[1:])  # noqa: RUF005, S606
