"""The token of a process: asked for once, renewed early, kept while its source is away."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from schemas.identity.tokens import LONGEST_WAIT_SECONDS, Token, TokenError, TokenProvider

LIFE = 100.0


class Source:
    """Gives numbered tokens, or fails with `error`; its clock is set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.error: str | None = None
        self.provider = TokenProvider(self, {}, lambda: self.now)

    async def __call__(self) -> Token:
        self.asked += 1
        await asyncio.sleep(0)
        if self.error:
            raise TokenError(self.error)
        return Token(f"token {self.asked}", self.now, self.now + LIFE)

    async def token_after(self, seconds: float) -> str:
        self.now += seconds
        token: str = await self.provider.token()
        return token


def run(test: Callable[[Source], Awaitable[None]]) -> None:
    async def body() -> None:
        await test(Source())

    asyncio.run(body())


def test_clients_that_connect_together_share_one_token() -> None:
    async def body(source: Source) -> None:
        tokens = await asyncio.gather(*(source.provider.token() for _ in range(20)))
        assert set(tokens) == {"token 1"}
        assert source.asked == 1

    run(body)


def test_a_token_is_renewed_before_it_expires_and_not_earlier_than_needed() -> None:
    async def body(source: Source) -> None:
        assert await source.token_after(0) == "token 1"
        assert await source.token_after(59) == "token 1"
        assert await source.token_after(2) == "token 2"

    run(body)


def test_a_token_is_used_to_its_end_while_its_source_is_away() -> None:
    async def body(source: Source) -> None:
        await source.token_after(0)
        source.error = "away"
        assert await source.token_after(80) == "token 1"
        assert source.provider.problem() is None
        with pytest.raises(TokenError, match=r"^away$"):
            await source.token_after(20)
        assert source.provider.problem() == "away"
        source.error = None
        assert await source.token_after(LONGEST_WAIT_SECONDS) == "token 4"
        assert source.provider.problem() is None

    run(body)


def test_a_source_that_fails_is_not_asked_by_every_connection() -> None:
    async def body(source: Source) -> None:
        source.error = "away"
        for _ in range(1000):  # 100 seconds of a client that connects every 100 ms
            with pytest.raises(TokenError, match="away"):
                await source.token_after(0.1)
        assert 10 <= source.asked <= 30

    run(body)


def test_a_rejected_token_is_not_used_again_and_named_until_one_is_accepted() -> None:
    async def body(source: Source) -> None:
        await source.token_after(0)
        source.provider.rejected("invalid_token")
        assert "the brokers reject the token: invalid_token" in str(source.provider.problem())
        with pytest.raises(TokenError, match="the next one is asked for within 2 s"):
            await source.token_after(0)
        assert await source.token_after(2) == "token 2"
        assert source.provider.problem() is not None
        source.provider.accepted()
        assert source.provider.problem() is None

    run(body)
