"""What the settings of every server have in common: strict JSON files whose errors name the file and the field."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator


class SettingsError(Exception):
    """A settings file that cannot be used; the message has one line for each mistake."""


class Section(BaseModel):
    """A part of a settings file: unknown names and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _address(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address") from None
    return value


Address = Annotated[str, AfterValidator(_address)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Url = Annotated[str, Field(pattern=r"^https?://[^/\s]+(/[^\s?#]*)?$")]


class Tls(Section):
    """The server's own certificate."""

    certificate: Path  # PEM, the chain included
    key: Path  # PEM, without a pass phrase

    @model_validator(mode="after")
    def _readable(self) -> Self:
        for path in (self.certificate, self.key):
            if not path.is_file():
                raise ValueError(f"{path} is not a file")
        return self


class Listen(Section):
    """Where a server listens."""

    address: Address
    port: Port
    tls: Tls | None = None


class SecureListen(Listen):
    """Where a server listens that never speaks without TLS."""

    tls: Tls


S = TypeVar("S", bound=Section)


def load(path: Path, kind: type[S]) -> S:
    """Reads a settings file.

    Raises:
        SettingsError: the file is missing, not JSON, or a value is wrong.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {line}" for line in mistakes(error))) from None


def mistakes(error: ValidationError) -> list[str]:
    """One line for each mistake, ``field.name: what is wrong``."""
    lines = []
    for mistake in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in mistake["loc"])
        message = mistake["msg"].removeprefix("Value error, ")
        lines.append(f"{place}: {message}" if place else message)
    return lines
