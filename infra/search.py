"""Step 4, retrieval: OpenSearch nodes, the embedding model in ml-commons, the indices and the hybrid weights."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pulumi

from infra import cloudinit, settings
from infra.compute import ConfigFile, InstanceRole, RoleArgs, Server, ServerArgs, boot_variables
from infra.network import Network
from infra.resources import search_security
from infra.resources.credentials import Credentials
from infra.resources.hybrid_weights import HybridWeights, HybridWeightsArgs
from infra.resources.model_deployment import ModelDeployment, ModelDeploymentArgs
from infra.resources.opensearch import ConnectionArgs
from infra.resources.search_index import SearchIndex, SearchIndexArgs

PORT = 9200
VERSION = "2.19.1"
PIPELINE = "ragrec-hybrid"


@dataclass(frozen=True)
class ClusterArgs:
    """What the nodes are and where they stand."""

    settings: settings.Settings
    oss_endpoint: str
    network: Network
    credentials: Credentials
    inference_address: str


class Cluster(pulumi.ComponentResource):
    """The OpenSearch nodes; `url` is the first one's."""

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ragrec:search:Cluster", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        stack = args.settings
        nodes = addresses(stack)
        self.url = f"https://{nodes[0]}:{PORT}"
        role = InstanceRole(
            name,
            RoleArgs(
                prefix=stack.prefix,
                config_bucket=stack.config_bucket,
                files=_files(args.credentials),
                readable=[],
            ),
            opts=child,
        )
        self.servers = [
            Server(
                f"{name}-{index}",
                ServerArgs(
                    hostname=hostname,
                    instance_type=stack.search.instance_type,
                    address=address,
                    switch=args.network.switches[index % len(args.network.switches)],
                    security_group=args.network.security_groups["search"],
                    user_data=cloudinit.render(
                        "search",
                        {
                            **boot_variables(stack, args.oss_endpoint, hostname, role),
                            "cluster_name": stack.prefix,
                            "address": address,
                            "seed_hosts": json.dumps(nodes),
                            "bootstrap": _bootstrap(stack),
                            "java_options": f"-Xms{stack.search.heap} -Xmx{stack.search.heap}",
                            "inference_pattern": re.escape(args.inference_address).replace("\\", "\\\\"),
                            "opensearch_version": VERSION,
                        },
                    ),
                    role=role,
                    system_disk_gb=stack.search.system_disk_gb,
                    deletion_protection=stack.protect,
                ),
                opts=child,
            )
            for index, (hostname, address) in enumerate(zip(_names(stack), nodes, strict=True))
        ]
        self.register_outputs({"url": self.url})


@dataclass(frozen=True)
class RetrievalArgs:
    """What is indexed where, and by which model."""

    settings: settings.Settings
    connection: ConnectionArgs
    credentials: Credentials
    inference_url: str
    model: str
    version: str
    """Of the model: the artifact's digest."""
    dimension: int
    data_digest: str


class Retrieval(pulumi.ComponentResource):
    """Hybrid retrieval: the model in ml-commons, the search pipeline with the weights, both indices."""

    def __init__(self, name: str, args: RetrievalArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ragrec:search:Retrieval", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        stack = args.settings
        tokens = args.credentials.tokens
        self.model = ModelDeployment(
            args.model,
            ModelDeploymentArgs(
                connection=args.connection,
                endpoint=args.inference_url,
                token=tokens["search"],
                version=args.version,
                model=args.model,
            ),
            opts=child,
        )
        self.weights = HybridWeights(
            PIPELINE,
            HybridWeightsArgs(
                connection=args.connection,
                bm25_weight=stack.hybrid.bm25_weight,
                vector_weight=stack.hybrid.vector_weight,
                normalization=stack.hybrid.normalization,
                combination=stack.hybrid.combination,
                pipeline=PIPELINE,
            ),
            opts=child,
        )
        after = pulumi.ResourceOptions(parent=self, depends_on=[self.model, self.weights])
        self.items = SearchIndex(
            "items",
            SearchIndexArgs(
                connection=args.connection,
                kind="items",
                bucket=stack.data_bucket,
                data_digest=args.data_digest,
                endpoint=args.inference_url,
                token=tokens["indexer"],
                model=args.model,
                version=args.version,
                dimension=args.dimension,
                engine=stack.search.engine,
                pipeline=PIPELINE,
                replicas=stack.search.replicas,
            ),
            opts=after,
        )
        self.users = SearchIndex(
            "users",
            SearchIndexArgs(
                connection=args.connection,
                kind="users",
                bucket=stack.data_bucket,
                data_digest=args.data_digest,
                replicas=stack.search.replicas,
            ),
            opts=after,
        )
        self.register_outputs({"index": self.items.index})


def addresses(stack: settings.Settings) -> list[str]:
    """The nodes' fixed addresses, spread over the zones."""
    zones = len(stack.network.zones)
    return [stack.network.address(index % zones, 10 + index // zones) for index in range(stack.search.nodes)]


def _bootstrap(stack: settings.Settings) -> str:
    if stack.search.nodes == 1:
        return "discovery.type: single-node"
    return f"cluster.initial_cluster_manager_nodes: {json.dumps(_names(stack))}"


def _names(stack: settings.Settings) -> list[str]:
    return [f"{stack.prefix}-search-{index}" for index in range(stack.search.nodes)]


def _files(credentials: Credentials) -> dict[str, ConfigFile]:
    """Certificates and the security plugin's files, where a node expects them."""
    owner = "opensearch:opensearch"
    files = {
        "/etc/opensearch/certs/ca.pem": ConfigFile(credentials.authority, owner),
        "/etc/opensearch/certs/node.pem": ConfigFile(credentials.certificates["search"], owner),
        "/etc/opensearch/certs/node.key": ConfigFile(credentials.keys["search"], owner),
    }
    # The names are the same whatever the hashes are; only the contents wait for them.
    contents = credentials.hashes.apply(search_security.files)
    for name in search_security.files(dict.fromkeys(search_security.USERS, "")):
        files[f"/etc/opensearch/{name}"] = ConfigFile(contents[name], owner)
    return files
