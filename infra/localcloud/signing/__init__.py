"""Who signed a request: every signature form of the vendor's clients, verified."""

from infra.localcloud.signing.claim import AccessKey, Claim, KeyRing
from infra.localcloud.signing.verifier import Verifier

__all__ = ["AccessKey", "Claim", "KeyRing", "Verifier"]
