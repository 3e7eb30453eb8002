"""What every answer carries for the sake of browsers: nothing may be guessed, framed, cached or embedded elsewhere."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLOSED: Final = "default-src 'none'; frame-ancestors 'none'"
Headers = list[tuple[bytes, bytes]]


def protection(hsts_seconds: int) -> Headers:
    """The headers of an answer that says nothing else about them."""
    headers = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Content-Security-Policy": CLOSED,
        "Cache-Control": "no-store",
    }
    if hsts_seconds:
        headers["Strict-Transport-Security"] = f"max-age={hsts_seconds}; includeSubDomains"
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


class SecurityHeadersMiddleware:
    """ASGI middleware around everything else, the last answer to an error included: adds what an answer does not say itself."""

    def __init__(self, app: ASGIApp, hsts_seconds: int) -> None:
        self._app = app
        self._ours = protection(hsts_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer with these headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protect(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = list(message.get("headers", ()))
                said = {name.lower() for name, _ in theirs}
                message = {**message, "headers": theirs + [each for each in self._ours if each[0] not in said]}
            await send(message)

        await self._app(scope, receive, protect)
