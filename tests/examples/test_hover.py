"""What an editor shows on hover, asked of pyright's own language server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TEXT = """\
import spectramind_config as sc

cfg = sc.compose()
print(cfg.local.prefetch_factor)
"""


class Server:
    """A language server, spoken to over its standard input and output."""

    def __init__(self) -> None:
        command = [str(Path(sys.executable).with_name("pyright-langserver")), "--stdio"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, **message: Any) -> None:
        """One message."""
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def answer(self, number: int) -> Any:
        """The answer to a request; the server's own questions are answered with nothing."""
        assert self.process.stdout
        while True:
            size = 0
            while line := self.process.stdout.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            message = json.loads(self.process.stdout.read(size))
            if message.get("id") == number and "method" not in message:
                return message["result"]
            if "method" in message and "id" in message:
                self.send(id=message["id"], result=None)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that ends with the test."""
    one = Server()
    yield one
    one.process.kill()
    one.process.communicate()


def test_a_setting_shows_its_description(server: Server, tmp_path: Path) -> None:
    """The docstring below a field is what ``--help`` and the reference say, and what the editor shows."""
    prefix = Path(sys.prefix)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"venvPath": str(prefix.parent), "venv": prefix.name}))
    folder = tmp_path.as_uri()
    server.send(
        id=1,
        method="initialize",
        params={
            "processId": None,
            "rootUri": folder,
            "capabilities": {},
            "workspaceFolders": [{"uri": folder, "name": "x"}],
        },
    )
    server.answer(1)
    server.send(method="initialized", params={})
    document = {"uri": f"{folder}/program.py", "languageId": "python", "version": 1, "text": TEXT}
    server.send(method="textDocument/didOpen", params={"textDocument": document})
    position = {"line": 3, "character": TEXT.splitlines()[3].index("prefetch")}
    server.send(
        id=2, method="textDocument/hover", params={"textDocument": {"uri": document["uri"]}, "position": position}
    )
    assert "Batches each worker loads ahead" in json.dumps(server.answer(2))
