"""What stands around the routes, in the order in which a request meets it. All of it is here, and none within the application:
the gateway's routes, which answer thousands of requests a second, then go by the rest of the application's machinery.

LetThemGo -> ProtectAnswers -> MeasureRequests -> (CORS) -> RequireKey -> Direct -> the application
"""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from api.access import RequireKey
from api.departed import LetThemGo
from api.direct import Direct
from api.headers import ProtectAnswers
from api.metrics import MeasureRequests
from api.reading import SOURCE, STALENESS
from api.routes.ingestion import ENDPOINTS
from api.settings import GatewaySettings


def around(app: FastAPI) -> ASGIApp:
    """The service that is served."""
    settings: GatewaySettings = app.state.settings
    service: ASGIApp = Direct(app, ENDPOINTS if app.state.gateway else {})
    service = RequireKey(service, app.state.keyring, app.state.metrics.registry)
    if settings.origins:
        service = CORSMiddleware(
            service,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=["Retry-After", SOURCE, STALENESS],
        )
    service = MeasureRequests(service, app.state.metrics)
    return LetThemGo(ProtectAnswers(service, settings.api_hsts_seconds))
