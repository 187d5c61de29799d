"""What the local cloud offers: instance types, images and disk categories.

Sizes follow the vendor's naming rule (``xlarge`` is 4 vCPUs) and the families' vCPU to memory ratio; the GPU families
have their own memory sizes. Prices and stock are not modelled.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

DISK_CATEGORIES = ("cloud_essd", "cloud_auto", "cloud_essd_entry", "cloud_ssd", "cloud_efficiency")
PERFORMANCE_LEVELS = ("PL0", "PL1", "PL2", "PL3")
IMAGE_SIZE = 20  # GiB
MOST_DISK_SIZE = 2048  # GiB


@dataclass(frozen=True)
class InstanceType:
    """An instance type: vCPUs, memory in GiB, GPUs."""

    id: str
    cpus: int
    memory: float
    gpus: int = 0
    gpu: str = ""

    @property
    def family(self) -> str:
        """The part of the id before the size, ``ecs.g7``."""
        return self.id.rsplit(".", 1)[0] if not self.gpus else self.id.split("-", 1)[0]

    @property
    def level(self) -> str:
        """The vendor's family level."""
        return "EnterpriseLevel"


@dataclass(frozen=True)
class Image:
    """A public image."""

    id: str
    family: str
    name: str
    local_name: str
    created: str
    architecture: str = "x86_64"


_SIZES = (("large", 2), ("xlarge", 4), ("2xlarge", 8), ("4xlarge", 16))

INSTANCE_TYPES = {
    kind.id: kind
    for kind in (
        *(InstanceType(f"ecs.c7.{size}", cpus, 2.0 * cpus) for size, cpus in _SIZES),
        *(InstanceType(f"ecs.g7.{size}", cpus, 4.0 * cpus) for size, cpus in _SIZES),
        *(InstanceType(f"ecs.r7.{size}", cpus, 8.0 * cpus) for size, cpus in _SIZES),
        InstanceType("ecs.gn6i-c4g1.xlarge", 4, 15.0, 1, "NVIDIA T4"),
        InstanceType("ecs.gn6i-c8g1.2xlarge", 8, 31.0, 1, "NVIDIA T4"),
        InstanceType("ecs.gn7i-c8g1.2xlarge", 8, 30.0, 1, "NVIDIA A10"),
        InstanceType("ecs.gn7i-c16g1.4xlarge", 16, 60.0, 1, "NVIDIA A10"),
    )
}

LINUX_3 = "acs:alibaba_cloud_linux_3_2104_lts_x64"

IMAGES = {
    image.id: image
    for image in (
        Image(
            f"aliyun_3_x64_20G_alibase_{day}.vhd",
            LINUX_3,
            "Alibaba Cloud Linux  3.2104 LTS 64 bit",
            "Alibaba Cloud Linux  3.2104 LTS 64位",
            f"{day[:4]}-{day[4:6]}-{day[6:]}T00:00:00Z",
        )
        for day in ("20250629", "20250117", "20241218", "20240819")
    )
}
"""Public images by id, the newest first."""


def newest_image(family: str) -> Image | None:
    """The newest image of a family, or None."""
    return next((image for image in IMAGES.values() if image.family == family), None)


def images(image_id: str = "", family: str = "", name: str = "") -> list[Image]:
    """Images by ids (comma separated), family and name (``*`` stands for anything)."""
    ids = [part for part in image_id.split(",") if part]
    return [
        image
        for image in IMAGES.values()
        if (not ids or image.id in ids)
        and (not family or image.family == family)
        and (not name or fnmatch.fnmatchcase(image.id, name))
    ]
