"""VPC: networks, vSwitches, route tables and public addresses."""

from infra.localcloud.services.vpc.service import VpcService

SERVICE = VpcService
