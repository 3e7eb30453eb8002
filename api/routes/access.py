"""What the one who asks may do: the web page asks first."""

from fastapi import APIRouter, Request

from api.auth.access import access_of
from schemas.responses.access import AccessResponse

router = APIRouter(prefix="/v1", tags=["access"])


@router.get("/access", operation_id="access", summary="What the API key that was sent may do")
async def access(request: Request) -> AccessResponse:
    """`open` is true where no keys are asked for at all; then everybody may do everything."""
    found = access_of(request)
    return AccessResponse(
        open=found.key_id is None,
        key_id=found.key_id,
        scopes=sorted(scope.value for scope in found.scopes),
        devices=found.devices,
    )
