"""RAM: roles, policies and what is attached to what."""

from infra.localcloud.services.ram.service import RamService

SERVICE = RamService
