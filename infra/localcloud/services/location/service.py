"""The Location service, which clients without an endpoint ask first."""

from __future__ import annotations

from typing import ClassVar

from infra.localcloud.service import ApiService, Call, Reply, operation

# Service code -> host name; the codes are the vendor's, in lower case.
_ENDPOINTS = {
    "airec": "airec.{region}.aliyuncs.com",
    "bssopenapi": "business.aliyuncs.com",
    "ecs": "ecs.{region}.aliyuncs.com",
    "location": "location.aliyuncs.com",
    "oss": "oss-{region}.aliyuncs.com",
    "paidlc": "pai-dlc.{region}.aliyuncs.com",
    "ram": "ram.aliyuncs.com",
    "sts": "sts.{region}.aliyuncs.com",
    "vpc": "vpc.{region}.aliyuncs.com",
}


class LocationService(ApiService):
    """Location 2015-06-12."""

    name: ClassVar[str] = "location"
    versions: ClassVar[tuple[str, ...]] = ("2015-06-12",)
    hosts: ClassVar[tuple[str, ...]] = (r"location(-readonly)?(\.[a-z0-9-]+)?\.aliyuncs\.com",)

    @operation(
        "DescribeEndpoints",
        required=("Id", "ServiceCode"),
        optional=("Type", "Namespace", "Password", "RegionId"),
        note="only services of the local cloud have endpoints",
    )
    def describe_endpoints(self, call: Call) -> Reply:
        """The host names of a service in a region; an empty list for services that don't exist here."""
        region, code = call.parameters["Id"], call.parameters["ServiceCode"].lower()
        kind = call.parameters.get("Type") or "openAPI"
        known = _ENDPOINTS.get(code)
        row = {
            "Id": region,
            "Namespace": call.parameters.get("Namespace", ""),
            "SerivceCode": code,  # the vendor's own spelling
            "Endpoint": known.format(region=region) if known else "",
            "Protocols": {"Protocols": ["HTTP", "HTTPS"]},
            "Type": kind,
        }
        return {"Success": True, "Endpoints": {"Endpoint": [row] if known and kind == "openAPI" else []}}
