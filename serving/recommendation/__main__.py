"""``python -m serving.recommendation --config /etc/ragrec/service.json``."""

import sys

from serving.listener import main
from serving.recommendation.app import application
from serving.recommendation.settings import Settings

sys.exit(
    main(
        "serving.recommendation",
        "Serves recommendations and hybrid search.",
        Settings,
        application,
        lambda settings: settings.listen,
    )
)
