"""The policy server: `predict` over WebSocket and HTTP for many clients, whose calls are answered in batches.

    GET  /health    {"status": "ok", "policy": NAME, ...}        GET /metrics   counts and latencies, for Prometheus
    POST /predict   one call by JSON or MessagePack              WS  /ws        calls by MessagePack (`agentgym.client`)

Each connection has sessions of its own, and is served by a task of its own: one that reads slowly delays only
itself. A call by HTTP names its session, and the server keeps it while it is used. On another host than the loopback
every request needs the token that the server made at its start.
"""

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from agentgym.apps.listening import LOOPBACK, listen
from agentgym.apps.policy_server import MAX_CLIENTS, Limits, PolicyServer, Sessions
from agentgym.client import pack, unpack
from agentgym.errors import UserError, first_line
from agentgym.extras import needs

if TYPE_CHECKING:
    from starlette.applications import Starlette


def make_app(server: PolicyServer, *, token: str | None = None) -> "Starlette":
    """The web application of a server; with a token, only for requests that bring it."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket

    def allowed(connection: "Request | WebSocket") -> bool:
        shown = connection.headers.get("x-token") or connection.query_params.get("token") or ""
        return token is None or secrets.compare_digest(shown.encode(), token.encode())

    def guarded(handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guard(request: Request) -> Response:
            if not allowed(request):
                return JSONResponse({"error": "the token is missing or wrong"}, status_code=401)
            answer: Response = await handle(request)
            return answer

        return guard

    async def health(request: Request) -> Response:
        return JSONResponse(server.info())

    async def metrics(request: Request) -> Response:
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")

    async def predict(request: Request) -> Response:
        binary = "msgpack" in request.headers.get("content-type", "")
        try:
            body = await _read_body(request, server.longest)
            message = unpack(body) if binary else json.loads(body)
            answer = await server.answer(message, server.by_http)
        except (UserError, ValueError, TypeError, RecursionError) as error:
            server.metrics.refused.inc()
            return JSONResponse({"error": first_line(error)}, status_code=400)
        return Response(pack(answer), media_type="application/msgpack") if binary else JSONResponse(_plain(answer))

    async def talk(socket: WebSocket) -> None:
        if not allowed(socket) or server.clients >= server.limits.clients:
            await socket.close(code=1008 if not allowed(socket) else 1013)
            return
        await socket.accept()
        await _serve_client(server, socket)

    return Starlette(
        routes=[
            Route("/health", guarded(health)),
            Route("/metrics", guarded(metrics)),
            Route("/predict", guarded(predict), methods=["POST"]),
            WebSocketRoute("/ws", talk),
        ]
    )


async def _serve_client(server: PolicyServer, socket: Any) -> None:
    """Answers one connection until it ends; one that does not take its answers is let go."""
    from starlette.websockets import WebSocketDisconnect

    sessions = Sessions()
    server.clients += 1
    server.metrics.clients.inc()
    try:
        while True:
            data = await socket.receive_bytes()
            try:
                answer = await server.answer(unpack(data), sessions)
            except (UserError, ValueError, TypeError) as error:
                server.metrics.refused.inc()
                answer = {"error": _line(error)}
            await asyncio.wait_for(socket.send_bytes(pack(answer)), server.limits.idle_s)
    except (WebSocketDisconnect, TimeoutError, KeyError, RuntimeError):
        return  # it went, or sent text where bytes are expected
    finally:
        server.clients -= 1
        server.metrics.clients.dec()


async def _read_body(request: Any, most: int) -> bytes:
    """The body of a request. Raises UserError when it is longer than that."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise UserError(f"the body is longer than {most} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _line(error: Exception) -> str:
    """What is wrong, in one line."""
    return (str(error).splitlines() or ["the message cannot be read"])[0]


def _plain(value: Any) -> Any:
    """NumPy's values as JSON's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def serve(server: PolicyServer, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serves until interrupted; `announce(address)` is called once the address is known. Raises UserError."""
    token = None if host in LOOPBACK else secrets.token_urlsafe(16)
    try:
        listen(
            make_app(server, token=token),
            host=host,
            port=port,
            announce=lambda address: announce(f"{address}" + (f"?token={token}" if token else "")),
            ws_max_size=server.longest,
            limit_concurrency=4 * server.limits.clients,
        )
    finally:
        server.close()


def offer(who: str, *, clients: int = MAX_CLIENTS) -> PolicyServer:
    """The server of a run, a checkpoint or a shipped agent. Raises UserError when there is none, or the extra."""
    with needs("serve", what="the policy server"):
        import prometheus_client  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    from agentgym.policies.agent_policy import AgentPolicy

    policy = AgentPolicy.from_pretrained(who)
    return PolicyServer(policy, who, policy.tasks, Limits(clients=clients))
