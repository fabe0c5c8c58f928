"""A network that is forbidden: what a process is given as ``sitecustomize.py`` to refuse and record every socket."""

from __future__ import annotations

FORBIDDING = """
import socket, sys
def forbid(event, arguments):
    made = event == "socket.__new__" and arguments[1] != socket.AF_UNIX
    used = event in ("socket.connect", "socket.bind", "socket.sendto") and arguments[0].family != socket.AF_UNIX
    if made or used or event in ("socket.getaddrinfo", "socket.gethostbyname"):
        with open({log!r}, "a") as file:
            file.write(f"{{event}} {{arguments}}\\n")
        raise PermissionError("no sockets")
sys.addaudithook(forbid)
with open({log!r}, "a") as file:
    file.write(f"watched {{sys.orig_argv}}\\n")
"""
