"""The permissions of an API key, which the web page requests first."""

from fastapi import APIRouter, Request

from api.auth.access import access_of
from schemas.responses.access import AccessResponse

router = APIRouter(prefix="/v1", tags=["access"])


@router.get("/access", operation_id="access", summary="Permissions of the API key")
async def access(request: Request) -> AccessResponse:
    """`open` is true when the API requires no keys: then every client has all permissions."""
    granted = access_of(request)
    return AccessResponse(
        open=granted.key_id is None,
        key_id=granted.key_id,
        scopes=sorted(scope.value for scope in granted.scopes),
        devices=granted.devices,
    )
