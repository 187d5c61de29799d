"""SSH key pairs; machines read the public key of theirs from the metadata service."""

from __future__ import annotations

import base64
import hashlib
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.localcloud.service import ApiError, Call, Reply
from infra.localcloud.services.ecs.disks import Disks
from infra.localcloud.services.vpc.conventions import TAGS, api, json_list, moment, page, pairs, tagged, tags
from infra.localcloud.store import Document


class KeyPairs(Disks):
    """Operations on key pairs. Documents, public keys only, are in ``ecs.key_pair`` by name."""

    def _key_pair(self, name: str) -> Document:
        found = self.collection("ecs.key_pair").get(name)
        if found is None:
            raise ApiError(404, "InvalidKeyPair.NotFound", f"The specified key pair {name} does not exist.")
        return found

    @api("CreateKeyPair", required=("KeyPairName",), optional=("ResourceGroupId", *TAGS))
    def create_key_pair(self, call: Call) -> Reply:
        """Creates an RSA pair and hands out the private key, once."""
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        body = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        return {**self._keep(call, public.decode()), "PrivateKeyBody": body.decode()}

    @api("ImportKeyPair", required=("KeyPairName", "PublicKeyBody"), optional=("ResourceGroupId", *TAGS))
    def import_key_pair(self, call: Call) -> Reply:
        """Keeps the public key of a pair that was made elsewhere."""
        body = call.parameters["PublicKeyBody"].strip()
        try:
            serialization.load_ssh_public_key(body.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise ApiError(
                400, "InvalidPublicKeyBody.Malformed", "PublicKeyBody is no public key in OpenSSH's form."
            ) from None
        return self._keep(call, body)

    @api(
        "DescribeKeyPairs",
        optional=(
            "KeyPairName",
            "KeyPairFingerPrint",
            "ResourceGroupId",
            "IncludePublicKey",
            "PageNumber",
            "PageSize",
            *TAGS,
        ),
    )
    def describe_key_pairs(self, call: Call) -> Reply:
        """Lists pairs by name (``*`` stands for anything), finger print and tags."""
        values = call.parameters
        name = values.get("KeyPairName", "")
        pattern = ".*".join(re.escape(part) for part in name.split("*")) if name else ".*"
        rows = [
            {
                "KeyPairName": pair["KeyPairName"],
                "KeyPairFingerPrint": pair["KeyPairFingerPrint"],
                "ResourceGroupId": pair["ResourceGroupId"],
                "CreationTime": pair["CreationTime"],
                "PublicKey": pair["PublicKeyBody"] if values.get("IncludePublicKey", "").lower() == "true" else "",
                "Tags": {"Tag": pairs(pair["Tags"], "TagKey", "TagValue")},
            }
            for pair in self.collection("ecs.key_pair").values()
            if re.fullmatch(pattern, pair["KeyPairName"])
            and values.get("KeyPairFingerPrint", "") in {"", pair["KeyPairFingerPrint"]}
            and values.get("ResourceGroupId", "") in {"", pair["ResourceGroupId"]}
            and tagged(pair, call)
        ]
        shown, numbers = page(rows, values, most=50)
        return {"KeyPairs": {"KeyPair": shown}, **numbers}

    @api("DeleteKeyPairs", required=("KeyPairNames",))
    def delete_key_pairs(self, call: Call) -> Reply:
        """Deletes pairs that no instance has; unknown names count as deleted."""
        names = json_list(call.parameters, "KeyPairNames")
        for instance in self.collection("ecs.instance").values():
            if instance["KeyPairName"] in names:
                raise ApiError(
                    400,
                    "InvalidParameter.KeypairAlreadyAttachedInstance",
                    f"The key pair {instance['KeyPairName']} is attached to {instance['InstanceId']}.",
                )
        for name in names:
            self.collection("ecs.key_pair").delete(name)
        return {}

    @api("AttachKeyPair", required=("KeyPairName", "InstanceIds"))
    def attach_key_pair(self, call: Call) -> Reply:
        """Gives instances a key pair, from their next start on."""
        name = self._key_pair(call.parameters["KeyPairName"])["KeyPairName"]
        return self._each_key(call, name, "")

    @api("DetachKeyPair", required=("KeyPairName", "InstanceIds"))
    def detach_key_pair(self, call: Call) -> Reply:
        """Takes a key pair away from instances."""
        name = self._key_pair(call.parameters["KeyPairName"])["KeyPairName"]
        return self._each_key(call, "", name)

    def _each_key(self, call: Call, new: str, old: str) -> Reply:
        results = []
        for instance_id in json_list(call.parameters, "InstanceIds"):
            instance = self.collection("ecs.instance").get(instance_id)
            found = instance is not None
            if instance is not None and old in {"", instance["KeyPairName"]}:
                instance["KeyPairName"] = new
                self.collection("ecs.instance").put(instance_id, instance)
            results.append(
                {
                    "InstanceId": instance_id,
                    "Success": "true" if found else "false",
                    "Code": "200" if found else "InvalidInstanceId.NotFound",
                    "Message": "success" if found else "The specified instance does not exist.",
                }
            )
        return {
            "KeyPairName": new or old,
            "TotalCount": str(len(results)),
            "FailCount": str(sum(result["Success"] == "false" for result in results)),
            "Results": {"Result": results},
        }

    def _keep(self, call: Call, public: str) -> Reply:
        name = call.parameters["KeyPairName"]
        if not re.fullmatch(r"[A-Za-z\u4e00-\u9fff][\w:\-]{1,127}", name) or name.startswith(("http://", "https://")):
            raise ApiError(400, "InvalidKeyPairName.Malformed", f"The key pair name {name!r} is not valid.")
        if self.collection("ecs.key_pair").get(name) is not None:
            raise ApiError(400, "KeyPair.AlreadyExist", f"The key pair {name} exists already.")
        # RFC 4716: MD5 of the key's blob, as the vendor prints it, without colons.
        blob = base64.b64decode(public.split()[1])
        pair: Document = {
            "KeyPairName": name,
            "KeyPairFingerPrint": hashlib.md5(blob, usedforsecurity=False).hexdigest(),
            "PublicKeyBody": public,
            "ResourceGroupId": call.parameters.get("ResourceGroupId", ""),
            "CreationTime": moment(),
            "Tags": tags(call),
        }
        self.collection("ecs.key_pair").put(name, pair)
        kept = ("KeyPairName", "KeyPairFingerPrint", "ResourceGroupId")
        return {"KeyPairId": self.new_id("ssh"), **{field: pair[field] for field in kept}}
