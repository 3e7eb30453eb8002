"""The OAuth token of a process, shared by its Kafka clients.

a connection authenticates -> the kept token while it is young -> else a new one from its source (sources.py)
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

log = structlog.get_logger(__name__)

RENEW_AFTER: Final = 0.6  # of a token's life; connections authenticate again somewhat later (sessions.py)
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 10.0


class TokenError(KafkaConnectionError):  # type: ignore[misc]
    """There is no token. The message says why and what to do; aiokafka tries again."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Token:
    """A token and its life, in seconds since 1970."""

    value: str
    obtained_at: float
    expires_at: float

    @property
    def renew_at(self) -> float:
        return self.obtained_at + RENEW_AFTER * (self.expires_at - self.obtained_at)


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Asks the source for a token when one is needed, and for the next one before the kept one expires.

    After a failure or a rejection the source is asked again after a wait of one to ten seconds, without end.
    """

    def __init__(
        self,
        source: Callable[[], Awaitable[Token]],
        extensions: Mapping[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._extensions = dict(extensions)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token: Token | None = None
        self._error: TokenError | None = None  # of the last attempt
        self._rejection: str | None = None
        self._ask_at = 0.0
        self._wait = FIRST_WAIT_SECONDS

    async def token(self) -> str:
        """A token that has not expired.

        Raises:
            TokenError: the source gives none now.
        """
        async with self._lock:
            now = self._clock()
            if (self._token is None or now >= self._token.renew_at) and now >= self._ask_at:
                await self._ask()
            if self._token is not None and self._clock() < self._token.expires_at:
                return self._token.value
            raise self._error or TokenError(f"no token: the next one is asked for within {self._wait:.0f} s")

    def extensions(self) -> dict[str, str]:
        """SASL extensions, which some brokers require beside the token."""
        return self._extensions

    def accepted(self) -> None:
        """A broker has accepted the token."""
        self._rejection, self._wait = None, FIRST_WAIT_SECONDS

    def rejected(self, answer: str) -> None:
        """A broker has rejected the token: the next connection needs a new one."""
        self._rejection, self._token = answer, None
        self._wait = min(2 * self._wait, LONGEST_WAIT_SECONDS)

    def problem(self) -> str | None:
        """Why no connection can authenticate now; None when there is no such reason."""
        if self._rejection:
            return (
                f"the brokers reject the token: {self._rejection}; compare its issuer, audience, scope and life with the "
                "brokers' settings"
            )
        expired = self._token is None or self._clock() >= self._token.expires_at
        return str(self._error) if self._error and expired else None

    async def _ask(self) -> None:
        self._ask_at = self._clock() + self._wait * random.uniform(0.5, 1)  # noqa: S311 - spreads load
        try:
            self._token = await self._source()
        except TokenError as error:
            self._report(error)
            self._wait = min(2 * self._wait, LONGEST_WAIT_SECONDS)
        else:
            if self._error:
                log.info("kafka_token_available")
            self._error = None

    def _report(self, error: TokenError) -> None:
        if self._error is None or str(self._error) != str(error):
            left = self._token.expires_at - self._clock() if self._token else 0
            log.warning("kafka_token_unavailable", error=str(error), kept_token_valid_for=max(0, round(left)))
        self._error = error
