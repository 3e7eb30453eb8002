"""Sessions that a token opens: authenticated with clear errors, and renewed before the broker ends them.

connect -> handshake, token -> accepted for some seconds -> shortly before their end: handshake, new token -> ...

A broker closes a connection that is used after its token has expired, unless the client has authenticated again on it (KIP-368).
aiokafka authenticates once, and takes a rejected token for an accepted one until its next request fails.
"""

import asyncio
import contextlib
import functools
import random
import weakref
from typing import Any, Final

import structlog
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import (
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest

from schemas.identity.tokens import TokenError

log = structlog.get_logger(__name__)

MECHANISM: Final = "OAUTHBEARER"
RENEW_BETWEEN: Final = (0.65, 0.75)  # of a session; not all connections at once
SHORTEST_SECONDS: Final = 1.1  # brokers allow one renewal a second
LONGEST_SECONDS: Final = 86_400.0
TOKEN_AGAIN_SECONDS: Final = 1.0
END_OF_FAILED_EXCHANGE: Final = b"\x01"  # RFC 7628, 3.2.3


@functools.cache  # once in a process
def patch_sessions() -> None:
    """Authenticate all connections with OAUTHBEARER by `_open`."""
    original = AIOKafkaConnection._do_sasl_handshake  # noqa: SLF001 - aiokafka has no public way

    async def handshake(connection: AIOKafkaConnection) -> None:
        mechanism = connection._sasl_mechanism  # noqa: SLF001
        await (_open(connection) if mechanism == MECHANISM else original(connection))

    AIOKafkaConnection._do_sasl_handshake = handshake  # noqa: SLF001


async def _open(connection: AIOKafkaConnection) -> None:
    """Authenticate with a token, and do it again in time.

    Raises:
        TokenError: there is no token.
        KafkaError: the broker rejects the token, or the connection is lost.
    """
    payload, _ = await connection.authenticator_oauth().step(None)
    # Both are written at once: the broker takes whatever follows the handshake for a token, also a request of another task.
    pending = connection.send(SaslHandShakeRequest(MECHANISM)), connection.send(SaslAuthenticateRequest(payload))
    answers: Any = await asyncio.gather(*pending, return_exceptions=True)
    _check_handshake(answers[0])
    answer = answers[1]
    if isinstance(answer, BaseException):
        raise answer
    provider = connection._sasl_oauth_token_provider  # noqa: SLF001
    if answer.error_code or answer.sasl_auth_bytes:
        error = await _rejection(connection, answer)
        provider.rejected(str(error))
        connection.close(reason=CloseReason.AUTH_FAILURE, exc=error)
        raise error
    provider.accepted()
    lifetime_ms = getattr(answer, "session_lifetime_ms", 0)  # old brokers do not tell; 0: without end
    if lifetime_ms > 0:
        _renew_after(connection, lifetime_ms / 1000 * random.uniform(*RENEW_BETWEEN))  # noqa: S311


def _check_handshake(shaken: Any) -> None:
    if isinstance(shaken, BaseException):
        raise shaken
    if shaken.error_code:
        offered = ", ".join(shaken.enabled_mechanisms)
        raise UnsupportedSaslMechanismError(f"the broker offers {offered or 'no mechanism'}, not {MECHANISM}")


async def _rejection(connection: AIOKafkaConnection, answer: Any) -> KafkaError:
    """The error of a rejected token; the exchange is ended so that the broker logs the failure as well."""
    if answer.error_code:
        return for_code(answer.error_code)(answer.error_message)
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        await connection.send(SaslAuthenticateRequest(END_OF_FAILED_EXCHANGE))
    return SaslAuthenticationFailed(answer.sasl_auth_bytes.decode(errors="replace"))


def _renew_after(connection: AIOKafkaConnection, seconds: float) -> None:
    delay = min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
    asyncio.get_running_loop().call_later(delay, _start_renewal, weakref.ref(connection))


def _start_renewal(reference: "weakref.ref[AIOKafkaConnection]") -> None:
    connection = reference()
    if connection is not None and connection.connected():
        task = asyncio.get_running_loop().create_task(_renew(connection), name="renew-kafka-session")
        connection._renewal = task  # noqa: SLF001 - the loop itself keeps no task alive


async def _renew(connection: AIOKafkaConnection) -> None:
    """Authenticate again. Without a token the session is used until it ends; after any other error aiokafka reconnects."""
    try:
        await _open(connection)
    except TokenError:
        _renew_after(connection, TOKEN_AGAIN_SECONDS)
    except (KafkaError, OSError, TimeoutError) as error:
        if connection.connected():  # else it was closed meanwhile
            log.warning("kafka_session_not_renewed", error=str(error))
            connection.close(reason=CloseReason.CONNECTION_BROKEN, exc=error)
    else:
        log.debug("kafka_session_renewed", broker=f"{connection.host}:{connection.port}")
