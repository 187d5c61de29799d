"""The RAM service: what its parts make together."""

from __future__ import annotations

from typing import ClassVar

from infra.localcloud.services.ram import records
from infra.localcloud.services.ram.attachment import AttachmentOperations
from infra.localcloud.services.ram.policy import PolicyOperations
from infra.localcloud.services.ram.role import RoleOperations
from infra.localcloud.services.ram.tag import TagOperations


class RamService(RoleOperations, PolicyOperations, AttachmentOperations, TagOperations):
    """RAM 2015-05-01: roles, policies, attachments and tags. Users and groups don't exist: one account, roles."""

    name: ClassVar[str] = "ram"
    versions: ClassVar[tuple[str, ...]] = ("2015-05-01",)
    hosts: ClassVar[tuple[str, ...]] = (r"ram(-vpc)?(\.[a-z0-9-]+)?\.aliyuncs\.com",)

    def inventory(self) -> list[str]:
        """Roles and custom policies."""
        store = self.cloud.store
        return [
            *(f"ram-role {name}" for name in sorted(records.roles(store).keys())),
            *(f"ram-policy {name}" for name in sorted(records.policies(store).keys())),
        ]
