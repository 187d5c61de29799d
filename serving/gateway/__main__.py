"""``python -m serving.gateway --config /etc/ragrec/gateway.json``."""

import sys

from serving.gateway.app import application
from serving.gateway.settings import Settings
from serving.listener import main

sys.exit(
    main(
        "serving.gateway",
        "Serves the OpenAI embeddings API over TLS in front of TorchServe.",
        Settings,
        application,
        lambda settings: settings.listen,
    )
)
