"""Location: which host name answers for a service in a region."""

from infra.localcloud.services.location.service import LocationService

SERVICE = LocationService
