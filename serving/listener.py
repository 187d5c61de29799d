"""Runs an ASGI application as a server process: TLS, orderly shutdown, one way to log."""

from __future__ import annotations

import argparse
import asyncio
import logging
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from serving.settings import Listen, S, SettingsError, load

GRACE = 20  # seconds that requests in flight have after SIGTERM


def configuration(app: ASGIApp, listen: Listen) -> uvicorn.Config:
    """The server's options.

    Raises:
        SettingsError: certificate or key cannot be used.
    """
    config = uvicorn.Config(
        app,
        host=listen.address,
        port=listen.port,
        ssl_certfile=listen.tls.certificate if listen.tls else None,
        ssl_keyfile=listen.tls.key if listen.tls else None,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=75,  # longer than the idle time of the clients' pools, which then close first
        access_log=False,  # `serving.middleware.RequestLog` does it without query strings
        server_header=False,
        log_config=None,
        proxy_headers=False,
        lifespan="on",
    )
    try:
        config.load()
    except (ssl.SSLError, OSError) as error:
        assert listen.tls is not None
        raise SettingsError(f"listen.tls: {listen.tls.certificate}, {listen.tls.key}: {error}") from None
    if config.is_ssl and isinstance(config.ssl, ssl.SSLContext):
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


def main(
    name: str,
    description: str,
    kind: type[S],
    application: Callable[[S], ASGIApp],
    listen: Callable[[S], Listen],
    arguments: Sequence[str] | None = None,
) -> int:
    """The command line of a server: ``--config FILE`` and ``--check``.

    Returns:
        0 after an orderly end, 2 when the settings are wrong, 1 when the server could not start.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the settings, JSON")
    parser.add_argument("--check", action="store_true", help="check the settings and exit")
    options = parser.parse_args(arguments)
    # The journal adds time and unit.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("opensearch").setLevel(logging.ERROR)
    try:
        settings = load(options.config, kind)
        config = configuration(application(settings), listen(settings))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.check:
        return 0
    server = uvicorn.Server(config)
    try:
        asyncio.run(server.serve())
    except KeyboardInterrupt:
        return 0
    except SystemExit:  # the address is in use: uvicorn has said so
        return 1
    return 0 if server.started else 1
