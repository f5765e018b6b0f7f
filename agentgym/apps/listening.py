"""An application at an address of this machine, until it is interrupted."""

import socket
from collections.abc import Callable
from typing import Any

from agentgym.errors import UserError
from agentgym.extras import needs

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def listen(app: Any, *, host: str, port: int, announce: Callable[[str], None], **settings: Any) -> None:
    """Serves the application with uvicorn; `announce(address)` is called once connections are taken.

    Raises UserError when the address is taken or there is no uvicorn.
    """
    with needs("serve", what="a server"):
        import uvicorn
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise UserError(f"--host {host} --port {port}: {error.strerror or error}; choose another one") from None
        listening.listen(1024)  # from here on whoever opens the address waits instead of being turned away
        named = f"[{host}]" if ":" in host else host
        announce(f"http://{named}:{listening.getsockname()[1]}/")
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, **settings)).run(sockets=[listening])
