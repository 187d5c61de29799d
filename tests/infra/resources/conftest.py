"""Servers for the managed resources: OpenSearch, the gateway, the local cloud."""

from tests.embeddings import gateway
from tests.infra.resources.local_cloud import local_fixture
from tests.opensearch import opensearch

__all__ = ["gateway", "local_fixture", "opensearch"]
