"""The machine types of the public resource pool, as ListEcsSpecs gives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EcsSpec:
    """A machine type; `memory` and `gpu_memory` in GiB."""

    instance_type: str
    cpu: int
    memory: int
    gpu: int = 0
    gpu_type: str = ""
    gpu_memory: int = 0

    def document(self) -> dict[str, Any]:
        """The form on the wire."""
        return {
            "InstanceType": self.instance_type,
            "AcceleratorType": "GPU" if self.gpu else "CPU",
            "Cpu": self.cpu,
            "Memory": self.memory,
            "Gpu": self.gpu,
            "GpuType": self.gpu_type,
            "GpuMemory": self.gpu_memory,
            "IsAvailable": True,
            "PaymentTypes": ["PostPaid"],
            "ResourceType": "ECS",
        }


SPECS = {
    spec.instance_type: spec
    for spec in (
        EcsSpec("ecs.g6.large", 2, 8),
        EcsSpec("ecs.g6.xlarge", 4, 16),
        EcsSpec("ecs.g6.2xlarge", 8, 32),
        EcsSpec("ecs.g7.xlarge", 4, 16),
        EcsSpec("ecs.c6.large", 2, 4),
        EcsSpec("ecs.gn6e-c12g1.3xlarge", 12, 92, 1, "NVIDIA V100", 32),
        EcsSpec("ecs.gn7i-c8g1.2xlarge", 8, 30, 1, "NVIDIA A10", 24),
        EcsSpec("ecs.gn7i-c16g1.4xlarge", 16, 60, 1, "NVIDIA A10", 24),
    )
}
