"""OpenSearch without its distribution: the same server, assembled from Maven artifacts (`opensearch.toml`).

Runs before there is any Python environment: standard library only.
"""

from __future__ import annotations

from infra.engine.opensearch.assembly import AssemblyError, ensure, java_version
from infra.engine.opensearch.recipe import Recipe

__all__ = ["AssemblyError", "Recipe", "ensure", "java_version"]
