"""A server with any answers, in place of Kaggle itself."""

from __future__ import annotations

import http.server
import json
from typing import Any

USER = "ada"


class FakeKaggle:
    """A server in place of api.kaggle.com: records requests and gives the answers that are set."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """Path, headers and body of each request."""
        self.answers: dict[str, Any] = {}
        """JSON value, bytes, or function without arguments, by a part of the path."""
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fake.requests.append((self.path, dict(self.headers), body))
                answer = fake.answer(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_PUT = do_POST  # noqa: N815 - names of the standard library

            def log_message(self, *_: Any) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str) -> bytes:
        """Return the body of the answer to a request."""
        if "IntrospectToken" in path and "IntrospectToken" not in self.answers:
            return json.dumps({"active": True, "username": USER}).encode()
        value: Any = next((value for part, value in self.answers.items() if part in path), {})
        if callable(value):
            value = value()
        return value if isinstance(value, bytes) else json.dumps(value).encode()

    def sent(self) -> str:
        """Return everything that was received, as text."""
        return repr(self.requests)
