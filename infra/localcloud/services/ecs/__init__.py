"""ECS: instances that really run, their security groups, key pairs, roles and metadata."""

from infra.localcloud.services.ecs.service import EcsService

SERVICE = EcsService
