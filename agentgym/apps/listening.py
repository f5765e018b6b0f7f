"""An application at an address of this machine, until it is interrupted."""

import socket
from collections.abc import Callable
from typing import Any

from agentgym.errors import UserError
from agentgym.extras import needs

LOOPBACK = ("127.0.0.1", "localhost", "::1")
REQUEST_S = 20.0  # from the opening of a connection, or its last answer, to the end of its next request
MOST_CONNECTIONS = 512  # below the 1,024 files that a process mostly may have open


def listen(app: Any, *, host: str, port: int, announce: Callable[[str], None], **settings: Any) -> None:
    """Serves the application with uvicorn; `announce(address)` is called once connections are taken.

    A connection that does not bring its request within REQUEST_S is closed, and one of more than MOST_CONNECTIONS too.
    Raises UserError when the address is taken or there is no uvicorn.
    """
    with needs("serve", what="a server"):
        import uvicorn
    settings = {"http": patient_protocol(), **settings}
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise UserError(f"--host {host} --port {port}: {error.strerror or error}; choose another one") from None
        listening.listen(1024)  # from here on connections wait instead of being refused
        named = f"[{host}]" if ":" in host else host
        announce(f"http://{named}:{listening.getsockname()[1]}/")
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, **settings)).run(sockets=[listening])


def patient_protocol(request_s: float = REQUEST_S, most: int = MOST_CONNECTIONS) -> Any:
    """uvicorn's HTTP protocol that times out within a request too; its own timeout is only between two requests."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class PatientProtocol(H11Protocol):
        """Closes a connection whose request does not come to its end in time."""

        _deadline: Any = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
            else:
                self._wait()

        def data_received(self, data: bytes) -> None:
            if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
                self._wait()  # the first bytes of the next request
            super().data_received(data)
            if self.cycle is not None and not self.cycle.more_body:
                self._stop_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _wait(self) -> None:
            self._deadline = self.loop.call_later(request_s, self._give_up)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            self._deadline = None
            if self.transport.get_protocol() is self:  # else it is a WebSocket, which has its own
                self.transport.abort()

    return PatientProtocol
