"""What stands around the routes, in the order in which a request meets it.

All of it lies outside of the framework's own machinery, so that the gateway's routes, which answer thousands of requests a
second, can go by that.

LetThemGo -> HeadIsGet -> ProtectAnswers -> errors -> MeasureRequests -> (CORS) -> RequireKey -> Direct -> framework, routes
"""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

from api.auth.access import AuthenticationMiddleware
from api.database.pools import SOURCE, STALENESS
from api.ingestion.fast_path import FastPath
from api.metrics import RequestMetricsMiddleware
from api.middleware.disconnects import IgnoreDisconnectsMiddleware
from api.middleware.head_requests import HeadRequestsMiddleware
from api.middleware.security_headers import SecurityHeadersMiddleware
from api.problems import unexpected
from api.routes.ingestion import ENDPOINTS
from api.settings import GatewaySettings


class Guarded(FastAPI):
    """An application that nobody reaches but through these doors, whoever serves it."""

    def build_middleware_stack(self) -> ASGIApp:
        """As the framework does, and ours around it."""
        settings: GatewaySettings = self.state.settings
        service: ASGIApp = FastPath(super().build_middleware_stack(), ENDPOINTS if self.state.gateway else {})
        service = AuthenticationMiddleware(service, self.state.keyring, self.state.metrics.registry)
        if settings.origins:
            service = CORSMiddleware(
                service,
                allow_origins=settings.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "X-API-Key", "Content-Type"],
                expose_headers=["Retry-After", SOURCE, STALENESS],
            )
        service = RequestMetricsMiddleware(service, self.state.metrics)
        service = ServerErrorMiddleware(service, handler=unexpected)
        return IgnoreDisconnectsMiddleware(
            HeadRequestsMiddleware(SecurityHeadersMiddleware(service, settings.api_hsts_seconds))
        )
