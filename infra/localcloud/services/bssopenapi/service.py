"""The billing service: the provider asks it for the account's kind when the configuration doesn't say."""

from __future__ import annotations

from typing import ClassVar

from infra.localcloud.service import ApiService, Call, Reply, operation


class BssOpenApiService(ApiService):
    """BssOpenApi 2017-12-14."""

    name: ClassVar[str] = "bssopenapi"
    versions: ClassVar[tuple[str, ...]] = ("2017-12-14",)
    hosts: ClassVar[tuple[str, ...]] = (r"business(\.[a-z0-9-]+)?\.aliyuncs\.com",)

    @operation(
        "QueryAvailableInstances",
        optional=(
            "RegionId",
            "ProductCode",
            "ProductType",
            "SubscriptionType",
            "InstanceIDs",
            "PageNum",
            "PageSize",
            "RenewStatus",
            "CreateTimeStart",
            "CreateTimeEnd",
            "EndTimeStart",
            "EndTimeEnd",
        ),
        note="no subscription exists, the list is empty",
    )
    def query_available_instances(self, _call: Call) -> Reply:
        """Lists subscriptions: there are none."""
        return {
            "Success": True,
            "Code": "Success",
            "Message": "Successful!",
            "Data": {"TotalCount": 0, "PageNum": 1, "PageSize": 20, "InstanceList": []},
        }
