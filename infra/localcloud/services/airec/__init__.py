"""AIRec (2020-11-26): instances, pushed data, scenes, and recommendations by a learner of our own behind the wire."""

from infra.localcloud.services.airec.service import Airec

SERVICE = Airec

__all__ = ["SERVICE"]
