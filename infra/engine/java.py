"""The Java that OpenSearch and TorchServe run on, and the tools around it. They are asked for, never installed."""

from __future__ import annotations

import re
import shutil
import subprocess

from infra.engine.errors import SetupError
from infra.engine.versions import versions


def require_java() -> str:
    """Find a Java that is new enough.

    Returns:
        Its version.

    Raises:
        SetupError: There is none, or it is too old.
    """
    needed = versions().java
    action = f"apt-get install openjdk-{needed}-jdk-headless"
    java = shutil.which("java")
    if java is None:
        raise SetupError(f"Java is missing, and OpenSearch and TorchServe need {needed}: {action}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True)
    found = re.search(r'version "(?:1\.)?(\d+)([^"]*)"', said.stderr + said.stdout)
    if found is None:
        raise SetupError(f"{java} does not say its version, and Java {needed} is needed: {action}")
    if int(found.group(1)) < int(needed):
        raise SetupError(
            f"Java {found.group(1)} ({java}) is too old, OpenSearch and TorchServe need {needed}: {action}"
        )
    return found.group(1) + found.group(2)
