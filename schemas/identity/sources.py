"""Where tokens come from: an OAuth token endpoint (client credentials), a file that is kept up to date, or AWS."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from schemas.identity.tokens import Token, TokenError

TIMEOUT_SECONDS: Final = 5.0
DEFAULT_LIFE_SECONDS: Final = 300.0  # of a token whose life the endpoint does not tell
FILE_READ_AGAIN_SECONDS: Final = 1.0
MOST_QUOTED: Final = 200  # characters of an answer
REFUSALS: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class _Granted(msgspec.Struct):
    access_token: str
    expires_in: float = DEFAULT_LIFE_SECONDS


class _Refused(msgspec.Struct):
    error: str = ""
    error_description: str = ""


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """The grant `client_credentials` of RFC 6749; the client authenticates by HTTP Basic."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None
    ssl_context: Callable[[], ssl.SSLContext]

    async def __call__(self) -> Token:
        """A new token.

        Raises:
            TokenError: the endpoint does not answer, or refuses.
        """
        import httpx  # noqa: PLC0415 - of the extra `oauth`

        asked_at = time.time()
        try:
            async with httpx.AsyncClient(verify=self.ssl_context(), timeout=TIMEOUT_SECONDS) as client:
                response = await client.post(
                    self.url,
                    data={"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {}),
                    auth=(quote(self.client_id, safe=""), quote(self.client_secret, safe="")),  # RFC 6749, 2.3.1
                    headers={"Accept": "application/json"},
                )
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = str(error) or type(error).__name__
            raise TokenError(f"no token: {self.url} (KAFKA_OAUTH_TOKEN_URL) does not answer: {reason}") from None
        if response.status_code != HTTPStatus.OK:
            raise TokenError(f"no token: {self._refusal(response.status_code, response.content)}")
        try:
            granted = msgspec.json.decode(response.content, type=_Granted, strict=False)
        except msgspec.DecodeError as error:
            raise TokenError(f"no token: {self.url} (KAFKA_OAUTH_TOKEN_URL) answers without one: {error}") from None
        return Token(granted.access_token, asked_at, asked_at + granted.expires_in)

    def _refusal(self, status: int, content: bytes) -> str:
        try:
            refused = msgspec.json.decode(content, type=_Refused)
        except msgspec.DecodeError:
            refused = _Refused()
        said = ": ".join(filter(None, [refused.error, refused.error_description]))[:MOST_QUOTED]
        if status not in REFUSALS:
            return f"{self.url} (KAFKA_OAUTH_TOKEN_URL) answers {status} {said}".rstrip()
        settings = "KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET"
        check = "KAFKA_OAUTH_SCOPE" if refused.error == "invalid_scope" else settings
        return f"{self.url} refuses the client {self.client_id}: {said or status}; check {check}"


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file that another process keeps up to date, such as a projected service account token of Kubernetes."""

    path: Path

    async def __call__(self) -> Token:
        """The content of the file as it is now: its life is known to the brokers alone.

        Raises:
            TokenError: the file cannot be read, or is empty.
        """
        try:
            value = self.path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"no token: {self.path} (KAFKA_OAUTH_TOKEN_FILE) cannot be read: {error}") from None
        if not value:
            raise TokenError(f"no token: {self.path} (KAFKA_OAUTH_TOKEN_FILE) is empty")
        now = time.time()
        return Token(value, now, now + FILE_READ_AGAIN_SECONDS)


@dataclass(frozen=True, slots=True)
class AwsToken:
    """A request to connect, signed with the credentials that the AWS SDK finds; brokers of Amazon MSK take it for a token."""

    region: str

    async def __call__(self) -> Token:
        """A signed request.

        Raises:
            TokenError: there are no credentials.
        """
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - of the extra `msk`; takes a second

        signed_at = time.time()
        try:
            value, expires_at_ms = await asyncio.to_thread(MSKAuthTokenProvider.generate_auth_token, self.region)
        except Exception as error:  # noqa: BLE001 - the SDK asks files, the environment and the network
            raise TokenError(
                f"no token: the AWS SDK finds no credentials for {self.region} (KAFKA_OAUTH_AWS_REGION): {error}"
            ) from None
        return Token(value, signed_at, expires_at_ms / 1000)
