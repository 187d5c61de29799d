"""STS: temporary credentials of roles."""

from infra.localcloud.services.sts.service import StsService

SERVICE = StsService
