"""Errors that a caller sees, all in one form."""

from __future__ import annotations

from typing import Any


class ServiceError(Exception):
    """A request that gets no answer, with the reason in one sentence."""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """``{"error": {"code", "message"}}``."""
        return {"error": {"code": self.code, "message": str(self)}}
