"""A real MLflow server, and a gate before it through which requests go well or badly."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

Manner = Literal["pass", "error", "silent", "slow", "held", "endless", "lost"]


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for something that happens for sure, if late."""
    give_up = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < give_up, f"never: {what}"
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """MLflow's own server with its store in a folder; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self.folder)]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # Workers that nobody here needs.
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(self.answers, "the MLflow server answers")

    def answers(self) -> bool:
        """Whether it is there."""
        with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as reply:  # noqa: S310
            return bool(reply.status == 200)
        return False

    def stop(self) -> None:
        """Kill it, and the processes that it has started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Gate:
    """A server that hands requests on to another one, in the manner of the moment.

    Attributes:
        manner: ``pass``; ``error`` answers 500; ``silent`` never answers; ``slow`` answers late; ``held`` hands the
            request on when the gate is opened; ``endless`` answers
            without an end; ``lost`` hands the request on and hangs up.
        requests: Method and path of each request.
        authorizations: Their Authorization headers.
        sent: Bytes of endless replies that somebody took.
        open: Set, nobody waits any more.
    """

    def __init__(self, server: Server) -> None:
        self.manner: Manner = "pass"
        self.server = server
        self.requests: list[str] = []
        self.authorizations: set[str | None] = set()
        self.sent = 0
        self.open = threading.Event()
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.listen()

    def listen(self) -> None:
        """Be there."""
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Let everybody go, and be there no more."""
        self.open.set()
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                with suppress(OSError):
                    super().handle_one_request()

            def do_GET(self) -> None:
                gate.answer(self)

            do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        manner = self.manner
        self.requests.append(f"{request.command} {request.path.partition('?')[0]}")
        self.authorizations.add(request.headers.get("Authorization"))
        request.close_connection = True
        if manner == "silent":
            self.open.wait()
        elif manner == "error":
            request.send_error(500)
        elif manner == "endless":
            request.send_response(200)
            request.end_headers()
            while not self.open.is_set():
                self.sent += request.wfile.write(b"[" * (1 << 20))
        else:
            self._hand_on(request, manner)

    def _hand_on(self, request: BaseHTTPRequestHandler, manner: Manner) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if manner in ("slow", "held"):
            self.open.wait(3.0 if manner == "slow" else None)
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        kinds = {"Content-Type": request.headers.get("Content-Type") or "application/json"}
        connection.request(request.command, request.path, body, kinds)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        if manner == "lost":
            return
        request.send_response(reply.status)
        request.send_header("Content-Type", reply.headers.get("Content-Type") or "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
