"""A plain HTTP server in front of single services, without signatures: what the official SDKs are tested against.

The local cloud's own server is tested by itself; here the wire form of operations is what matters.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from infra.localcloud.service import ApiError, Call, Identity, Service

REGION = "cn-hangzhou"
ACCOUNT = "1234567890123456"


@contextmanager
def serve(services: Mapping[str, Service]) -> Iterator[str]:
    """Serves each service under its host name's first label; yields the URL to use as HTTP proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request_id = str(uuid.uuid4())
            service = services[self.headers["Host"].split(".")[0]]
            call = Call(
                service=service.name,
                method=self.command,
                host=self.headers["Host"],
                path=unquote(url.path),
                parameters=dict(parse_qsl(url.query, keep_blank_values=True)),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=body,
                identity=Identity(ACCOUNT, "key", "account"),
                region=REGION,
                request_id=request_id,
            )
            try:
                status, reply = 200, service.handle(call)
            except ApiError as error:
                status = error.status
                reply = {"requestId": request_id, "code": error.code, "message": error.message, **error.data}
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json;charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
