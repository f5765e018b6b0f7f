"""The playground as a web application: a page, and JSON over HTTP.

A wrong request is answered with `{"error": one line}`. On another host than the loopback every request has to show the
token that the start of the server made.
"""

import secrets
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from agentgym.apps.listening import LOOPBACK, listen
from agentgym.apps.playground import BeginRequest, CorrectRequest, KeepRequest, Playground, StepRequest, shown
from agentgym.errors import UserError, complaint_of
from agentgym.extras import needs

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

MOST_ASKED = 2**16  # bytes of a request


def serve(playground: Playground, *, host: str, port: int, announce: Any) -> None:
    """Serves until interrupted; `announce(address)` is called once the address is known. Raises UserError."""
    token = None if host in LOOPBACK else secrets.token_urlsafe(16)
    app = make_app(playground, token=token)
    with needs("playground", what="the playground"):
        import uvicorn  # noqa: F401  (said by this extra's name; `listen` uses it)

    def announce_with_token(address: str) -> None:
        announce(address + (f"?token={token}" if token else ""))

    try:
        listen(app, host=host, port=port, announce=announce_with_token)
    finally:
        playground.close()


def make_app(playground: Playground, *, token: str | None = None) -> "FastAPI":
    """The application; with a token, only for requests that bring it. Raises UserError without FastAPI."""
    with needs("playground", what="the playground"):
        from fastapi import FastAPI

    app = FastAPI(title="agentgym playground", docs_url=None, redoc_url=None, openapi_url=None)
    _say_errors_in_one_line(app)
    _guard(app, token)
    _add_routes(app, playground)
    return app


def _refused(status: int, text: str) -> "Response":
    from fastapi.responses import JSONResponse

    return JSONResponse({"error": text}, status_code=status)


def _say_errors_in_one_line(app: "FastAPI") -> None:
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    def on_user_error(request: "Request", error: Exception) -> "Response":
        return _refused(400, str(error))

    def on_wrong_request(request: "Request", error: Exception) -> "Response":
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body") or "the request"
        return _refused(400, f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}")

    def on_refusal(request: "Request", error: Exception) -> "Response":
        assert isinstance(error, HTTPException)
        return _refused(error.status_code, f"{error.detail}")

    app.add_exception_handler(HTTPException, on_refusal)
    app.add_exception_handler(UserError, on_user_error)
    app.add_exception_handler(RequestValidationError, on_wrong_request)


def _guard(app: "FastAPI", token: str | None) -> None:
    """Requests need the token, where there is one, and are small; no other page shows this one."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    if token is None:  # a page elsewhere could otherwise reach this server by a name that it points at the loopback
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])

    @app.middleware("http")
    async def guard(request: Any, call_next: Any) -> Any:
        shown_token = request.headers.get("x-token") or request.query_params.get("token") or ""
        if token is not None and not secrets.compare_digest(shown_token.encode(), token.encode()):
            return _refused(401, "the token is missing or wrong; open the address that the start of the server printed")
        size = request.headers.get("content-length", "" if request.method == "POST" else "0")
        if not (size.isdecimal() and len(size) < 10 and int(size) <= MOST_ASKED):
            return _refused(413, f"a request has at most {MOST_ASKED:,} bytes, and says how many")
        try:
            response = await call_next(request)
        except Exception as error:
            complaint = complaint_of(error)
            if complaint is None:
                raise
            return _refused(500, f"{complaint}; fix that code")
        response.headers["Content-Security-Policy"] = "frame-ancestors 'none'"  # no page shows this one inside itself
        return response


def _add_routes(app: "FastAPI", playground: Playground) -> None:
    from fastapi.responses import HTMLResponse

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        return (files("agentgym.apps") / "templates" / "playground.html").read_text(encoding="utf-8")

    @app.get("/api/options")
    def options() -> dict[str, Any]:
        return playground.options()

    @app.post("/api/sessions")
    def enter(asked: BeginRequest) -> dict[str, Any]:
        with playground.lock:
            return playground.enter(asked)

    @app.post("/api/sessions/{identity}/begin")
    def begin(identity: str, asked: BeginRequest) -> dict[str, Any]:
        with playground.lock:
            return shown(playground.find(identity).begin(asked.seed, asked.instruction))

    @app.post("/api/sessions/{identity}/step")
    def step(identity: str, asked: StepRequest) -> dict[str, Any]:
        with playground.lock:
            return playground.step(identity, asked)

    @app.post("/api/sessions/{identity}/correct")
    def correct(identity: str, asked: CorrectRequest) -> dict[str, Any]:
        with playground.lock:
            return playground.correct(identity, asked)

    @app.post("/api/sessions/{identity}/keep")
    def keep(identity: str, asked: KeepRequest) -> dict[str, Any]:
        with playground.lock:
            return playground.keep(identity, asked)

    @app.delete("/api/sessions/{identity}")
    def leave(identity: str) -> dict[str, Any]:
        with playground.lock:
            playground.leave(identity)
        return {}
