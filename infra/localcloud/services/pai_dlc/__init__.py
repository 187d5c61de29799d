"""PAI Deep Learning Containers (2020-12-03): training jobs that run for real, as pods of the hypervisor."""

from infra.localcloud.services.pai_dlc.service import PaiDlc

SERVICE = PaiDlc

__all__ = ["SERVICE"]
