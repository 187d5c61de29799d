"""OSS: buckets and objects."""

from infra.localcloud.services.oss.mount import Mount
from infra.localcloud.services.oss.service import OssService

SERVICE = OssService

__all__ = ["Mount", "OssService", "SERVICE"]
