"""A page about a run directory that renews itself while the search runs, served to this machine alone and read-only.

Only GET and HEAD of one page are answered, and only where the request names the host as 127.0.0.1 or localhost: a page
from elsewhere whose own name leads here (DNS rebinding) gets nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from jaxhp.store.files import located
from jaxhp.values import Error
from jaxhp.words import plain

_FILES = ("manifest.json", "ledger.sqlite", "ledger.sqlite-wal")
_PATHS = ("/", "/index.html")
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Pages:
    """The page about a run directory as it is now, made anew where its files have changed since.

    Args:
      directory: of the run.
      make: makes its page.

    Raises:
      FileNotFoundError: it is not a run directory.
      Error: its path leads nowhere.
    """

    def __init__(self, directory: str | Path, make: Callable[[Path], str]):
        self._directory, self._make = located(directory), make
        if not any((self._directory / name).is_file() for name in _FILES[:2]):
            raise FileNotFoundError(f"{directory}: expected a run directory, found no search in it")
        self._lock = threading.Lock()  # one page is made at a time, however many ask
        self._state: object = None
        self._made = b"", ""

    def now(self) -> tuple[bytes, str]:
        """Return the page, and a tag that is another for another page."""
        with self._lock:
            state = tuple(map(self._stamp, _FILES))
            if state != self._state:
                content = self._make(self._directory).encode(errors="replace")
                self._made = content, hashlib.sha256(content).hexdigest()[:32]
                self._state = state
            return self._made

    def _stamp(self, name: str) -> tuple[int, int] | None:
        try:
            found = os.stat(self._directory / name)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size


class _Handler(BaseHTTPRequestHandler):
    timeout = 20.0
    server_version, sys_version = "jaxhp", ""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_GET

    def __getattr__(self, name: str) -> Any:
        """Answer every other method that a client may name."""
        if name.startswith("do_"):
            refusal = b"jaxhp: expected GET or HEAD\n", {"Allow": "GET, HEAD"}
            return lambda: self._send(HTTPStatus.METHOD_NOT_ALLOWED, *refusal)
        raise AttributeError(name)

    def _answer(self) -> None:
        server = cast(Server, self.server)
        if self.headers.get_all("Host", []) not in [[host] for host in server.hosts]:
            self._send(HTTPStatus.FORBIDDEN, b"jaxhp: expected a request to this machine by its own name\n", {})
        elif self.path.partition("?")[0] not in _PATHS:
            self._send(HTTPStatus.NOT_FOUND, b"jaxhp: there is one page, /\n", {})
        else:
            content, tag = server.pages.now()
            if self.headers.get("If-None-Match") == f'"{tag}"':
                self._send(HTTPStatus.NOT_MODIFIED, b"", {"ETag": f'"{tag}"'})
            else:
                self._send(HTTPStatus.OK, content, _HEADERS | {"ETag": f'"{tag}"'})

    def _send(self, status: HTTPStatus, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "text/plain; charset=utf-8"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests."""


class Server(ThreadingHTTPServer):
    """Serves the page about a run directory on 127.0.0.1.

    Args:
      pages: what is served.
      port: 0 for any that is free.

    Raises:
      OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, pages: Pages, port: int = 0):
        self.pages = pages
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise OSError(error.errno, f"--port: expected a free port, got {port}: {error.strerror}") from None
        self.hosts = (f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}")

    @property
    def url(self) -> str:
        """Return where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


def watch(directory: str | Path, port: int, make: Callable[[Path], str]) -> None:
    """Serve the page about a run directory until Ctrl-C.

    Args:
      directory: of the run, which may be finished, in training, or beginning.
      port: on 127.0.0.1; 0 for any that is free.
      make: makes its page.

    Raises:
      FileNotFoundError: it is not a run directory.
      Error: there can be no such port.
      OSError: the port is taken.
    """
    if not 0 <= port < 2**16:
        raise Error(f"--port: expected a number from 0 to 65535, got {port}")
    with Server(Pages(directory, make), port) as server:
        print(f"{plain(server.url)} shows {plain(directory)} and renews itself; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(file=sys.stderr)
