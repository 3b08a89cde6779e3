"""The page of runs that still train, served to browsers on this machine alone."""

import json
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jaxgan.errors import InputError
from jaxgan.report.collect import collect, find, stamp
from jaxgan.report.page import page

_HOSTS = ("127.0.0.1", "localhost")


class Server(ThreadingHTTPServer):
    """Answers ``/`` with the page and ``/data`` with its data, and nothing else.

    >>> with Server(["runs/dcgan-mnist"], 8000) as server:  # doctest: +SKIP
    ...     server.serve_forever()
    """

    daemon_threads = True

    def __init__(self, runs: Sequence[str | Path], port: int):
        """Listens on 127.0.0.1.

        Args:
          runs: as of `collect.find`.
          port: 0 takes any that is free.

        Raises:
          InputError: for a port that cannot be had, and as `collect.find`.
        """
        if not 0 <= port < 2**16:
            raise InputError(f"port is {port}; a port lies between 1 and 65535, and 0 takes any that is free.")
        self._runs, self._lock = find(runs), Lock()
        self._data: dict[str, Any] | None = None
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise InputError(
                f"Port {port} cannot be had: {error.strerror}. Choose another with --port, or 0 for any that is free."
            ) from error

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"

    def data(self, version: str | None = None) -> dict[str, Any] | None:
        """What the page shows; None if that is of this version still."""
        with self._lock:  # several browsers ask for it: it is collected once
            if self._data is None or self._data["version"] != stamp(self._runs):
                self._data = collect(self._runs)
            return None if self._data["version"] == version else self._data


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server
    timeout = 10  # seconds, for whoever connects and says nothing
    server_version, sys_version = "jaxgan", ""

    def do_GET(self) -> None:
        # A page of another origin whose name was made to lead here comes with that name.
        name, _, port = self.headers.get("Host", "").partition(":")
        if name not in _HOSTS or port not in ("", str(self.server.server_port)):
            return self._answer(403, "This page is for browsers on this machine: http://127.0.0.1:PORT/")
        url = urlsplit(self.path)
        try:
            if url.path == "/":
                data = self.server.data()
                assert data is not None
                return self._answer(200, page(data, live=True), "text/html")
            if url.path == "/data":
                (version,) = parse_qs(url.query).get("version", [None])[:1]
                data = self.server.data(version)
                if data is None:
                    return self._answer(204, "")
                return self._answer(200, json.dumps(data, allow_nan=False), "application/json")
        except (InputError, OSError) as error:
            return self._answer(503, str(error))
        return self._answer(404, "There is the page, /, and its data, /data.")

    def _answer(self, status: int, text: str, kind: str = "text/plain") -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the terminal has the address alone."""
