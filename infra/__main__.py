"""The pipeline, top to bottom as its six steps. Run by `pulumi up`; see docs/architecture.md."""

from __future__ import annotations

from pathlib import Path

import pulumi
from pulumi.runtime.config import get_config_env

from infra import inference, recommendation, search, settings, storage
from infra.engine.paths import Paths
from infra.network import Network, NetworkArgs, openings
from infra.release import digest, short
from infra.resources import search_security
from infra.resources.airec_data_connection import AirecDataConnection, AirecDataConnectionArgs
from infra.resources.airec_instance import AirecInstance, AirecInstanceArgs
from infra.resources.credentials import Credentials, CredentialsArgs
from infra.resources.opensearch import ConnectionArgs
from infra.resources.service_deployment import ServiceDeployment, ServiceDeploymentArgs
from infra.training import Training, TrainingArgs
from model import sample
from model.data import DataError, open_dataset

ROOT = Path(__file__).resolve().parent.parent
STATE = Paths.of_environment().state
MODEL = "custom-emb-v1"

try:
    stack = settings.load(get_config_env(), stack=pulumi.get_stack())
    source = sample.ensure(STATE / "sample") if stack.data.source == settings.SAMPLE else ROOT / stack.data.source
    data_digest = open_dataset(source).digest
except settings.SettingsError as error:
    raise pulumi.RunError(str(error)) from None
except DataError as error:
    raise pulumi.RunError(f"ragrec:data.source: {error}") from None
except OSError as error:
    raise pulumi.RunError(f"ragrec:data.source: {error.filename}: {error.strerror or error}") from None
training_code = storage.archive_code("training", ROOT, storage.TRAINING_CODE, STATE / "code")
serving_code = storage.archive_code("serving", ROOT, storage.SERVING_CODE, STATE / "code")
oss_host = f"oss-{stack.region}-internal.aliyuncs.com"

# Before everything: the network, closed but for what the pipeline uses, and the stack's own secrets.
network = Network("network", NetworkArgs(stack.prefix, stack.network, openings(stack.network)))
credentials = Credentials(
    "credentials",
    CredentialsArgs(
        users=list(search_security.USERS),
        services=[*inference.TOKENS, *recommendation.SCOPES],
        servers={"search": search.addresses(stack), "inference": [inference.address(stack.network)]},
    ),
)

# 1. Documents and interaction logs are staged in OSS, beside the code that works on them.
staged = storage.Storage(
    "storage",
    storage.StorageArgs(
        data_bucket=stack.data_bucket,
        config_bucket=stack.config_bucket,
        source=source,
        source_digest=data_digest,
        codes=[training_code, serving_code],
        force_destroy=not stack.protect,
    ),
)

# 2. PAI trains the domain's embeddings, and a ranker on its interactions.
training = Training(
    "training",
    TrainingArgs(stack, oss_host, training_code, data_digest),
    opts=pulumi.ResourceOptions(depends_on=[staged]),
)

# 3. TorchServe serves the trained model on an instance that cloud-init boots.
served = inference.Inference(
    "inference",
    inference.InferenceArgs(
        settings=stack,
        oss_endpoint=oss_host,
        switch=network.switches[0],
        security_group=network.security_groups["inference"],
        credentials=credentials,
        code_key=serving_code.key,
        model_key=f"{training.prefix}custom_emb.mar",
        model=MODEL,
    ),
    opts=pulumi.ResourceOptions(depends_on=[training]),
)

# 4. OpenSearch retrieves by text and by vector: the model deployed, the indices built, the weights set.
cluster = search.Cluster(
    "search",
    search.ClusterArgs(stack, oss_host, network, credentials, served.address),
    opts=pulumi.ResourceOptions(depends_on=[staged.config]),
)
loader = ConnectionArgs(
    url=cluster.url,
    authority=credentials.authority,
    user=search_security.LOADER,
    password=credentials.passwords[search_security.LOADER],
)
retrieval = search.Retrieval(
    "retrieval",
    search.RetrievalArgs(
        settings=stack,
        connection=loader,
        credentials=credentials,
        inference_url=served.url,
        model=MODEL,
        version=short(training.digest),
        dimension=stack.training.dimension,
        data_digest=data_digest,
    ),
    opts=pulumi.ResourceOptions(depends_on=[served, cluster, network]),
)

# 5. AIRec learns from the items and users of the indices, and from the behaviour in the log.
airec_instance: pulumi.Input[str] | None = None
connected: list[pulumi.Resource] = []
if stack.ranking == "airec" and stack.airec is not None:
    consent = stack.airec.purchase
    bought = AirecInstance(
        "airec",
        AirecInstanceArgs(
            instance_id=stack.airec.instance_id,
            purchase_until=consent.until.isoformat() if consent else None,
            name=stack.prefix,
        ),
    )
    airec_instance = stack.airec.instance_id or bought.id
    connected = [
        AirecDataConnection(
            "airec-data",
            AirecDataConnectionArgs(
                instance_id=airec_instance,
                scene_id=stack.airec.scene_id,
                connection=loader,
                bucket=stack.data_bucket,
                data_digest=data_digest,
            ),
            opts=pulumi.ResourceOptions(depends_on=[bought, retrieval]),
        )
    ]

# 6. One API recommends; a release says which model, index, weights and data answer together.
service = recommendation.Recommendation(
    "recommendation",
    recommendation.RecommendationArgs(
        settings=stack,
        oss_endpoint=oss_host,
        switch=network.switches[0],
        security_group=network.security_groups["recommendation"],
        credentials=credentials,
        code_key=serving_code.key,
        search_url=cluster.url,
        inference_url=served.url,
        model=MODEL,
        pipeline=search.PIPELINE,
        airec_instance=airec_instance,
    ),
    opts=pulumi.ResourceOptions(depends_on=[staged, network]),
)
release = short(
    digest(
        code=serving_code.digest,
        artifact=training.digest,
        data=data_digest,
        hybrid=stack.hybrid.model_dump(),
        search=stack.search.model_dump(),
        ranking=stack.ranking,
        service=service.revision,
    )
)
deployed = ServiceDeployment(
    stack.service.model_version.replace("_", "-"),
    ServiceDeploymentArgs(
        url=service.url,
        instance=service.instance_id,
        token=credentials.tokens["deployer"],
        release=release,
        artifacts=training.prefix,
        version=short(training.digest),
        model_version=stack.service.model_version,
        pipeline=search.PIPELINE,
        model=MODEL,
    ),
    opts=pulumi.ResourceOptions(depends_on=[service, retrieval, *connected]),
)

pulumi.export("endpoint", service.url)
pulumi.export("instance", service.instance_id)
pulumi.export("release", release)
pulumi.export("searchEndpoint", cluster.url)
pulumi.export("inferenceEndpoint", served.url)
pulumi.export("index", retrieval.items.index)
pulumi.export("trainingMetrics", training.job.metrics)
pulumi.export("source", str(source))
pulumi.export("authority", credentials.authority)
pulumi.export("searchPassword", credentials.passwords[search_security.ADMIN])
pulumi.export("apiToken", credentials.tokens["application"])
