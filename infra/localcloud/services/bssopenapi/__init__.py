"""BssOpenApi: billing, as far as the provider asks for it."""

from infra.localcloud.services.bssopenapi.service import BssOpenApiService

SERVICE = BssOpenApiService
