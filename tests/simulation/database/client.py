"""asyncpg's pool and connection, as far as the consumer uses them, in front of the model of the server."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, Self

import asyncpg

from tests.simulation.database.server import Server, Session, Statement, Transaction
from tests.simulation.database.statements import HISTORIES, copy_rows, statement
from tests.simulation.event_loop import ProcessLoop

COMMAND_SECONDS: Final = 65.0  # the pool's command_timeout
POOL_SIZE: Final = 8
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


class Link:
    """The network between one process and the server. Messages take a moment; on a silent link they wait until it recovers."""

    def __init__(self, server: Server, process: ProcessLoop, name: str, rng: Random) -> None:
        self.server = server
        self.process = process
        self.name = name
        self.slowness = 1.0
        self.silent = False
        self.fail_next: BaseException | None = None  # the server answers the next statement with this error
        self.lose_commit: str | None = None  # "before" or "after": break the connection around the next COMMIT
        self._rng = rng
        self._held: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._latencies = (0.0005, 0.001, 0.001, 0.002, 0.005)

    def send(self, callback: Callable[..., None], *args: Any) -> None:
        """Deliver a message to the other side."""
        if self.silent:
            self._held.append((callback, args))
        else:
            delay = self._latencies[int(self._rng.random() * 5)] * self.slowness
            self.server.scheduler.call_later(delay, self._arrive, callback, args)

    def recover(self) -> None:
        self.silent = False
        held, self._held = self._held, []
        for callback, args in held:
            self.send(callback, *args)

    def _arrive(self, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.silent:
            self._held.append((callback, args))
        else:
            callback(*args)


class Backend:
    """The client's side of one session."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.session: Session | None = None
        self.closed = False
        self.in_transaction = False
        self._reply: asyncio.Future[Any] | None = None
        self._cancelled: asyncio.Future[Any] | None = None

    async def connect(self) -> None:
        """Raises OSError while the server is down."""
        opened = self.link.process.create_future()
        self.link.send(self._open, opened)
        async with asyncio.timeout(5):
            await opened

    async def run(self, action: Callable[..., None], *args: Any) -> Any:
        """Send a request and wait for its answer. Raises the server's error, or InterfaceError on a closed connection."""
        await self.settle()
        if self.closed:
            raise asyncpg.InterfaceError("connection is closed")
        if self._reply is not None:
            raise asyncpg.InterfaceError("cannot perform operation: another operation is in progress")
        loop = self.link.process
        reply = self._reply = loop.create_future()
        timer = loop.call_later(COMMAND_SECONDS, self._time_out, reply) if self.link.silent else None
        self.link.send(self._perform, action, reply, args)
        try:
            return await reply
        except (asyncio.CancelledError, TimeoutError):
            if not self.closed:
                self._cancelled = loop.create_future()
                self.link.send(self._cancel)
            raise
        finally:
            if self._reply is reply:
                self._reply = None
            if timer:
                timer.cancel()

    @property
    def busy(self) -> bool:
        """Whether the connection has to be reset before it is used again."""
        return not self.closed and (self.in_transaction or self._cancelled is not None)

    async def settle(self) -> None:
        """Wait until the server has confirmed a cancellation."""
        if self._cancelled is not None:
            await self._cancelled

    def terminate(self) -> None:
        """Close the connection without waiting for anything."""
        if not self.closed and not self.link.process.dead:
            self._close()
            if self.session:
                self.link.send(self.link.server.client_left, self.session)

    def lost(self, error: BaseException) -> None:
        """The connection is found broken."""
        if self.closed or self.link.process.dead:
            return
        reply = self._reply
        self._close()
        self._cancelled = None
        if reply and not reply.done():
            reply.set_exception(error)

    def _close(self) -> None:
        self.closed = True
        if self._cancelled and not self._cancelled.done():
            self._cancelled.set_result(None)

    def _open(self, opened: asyncio.Future[Any]) -> None:
        try:
            self.session = self.link.server.connect(self.link.name, lambda error: self.link.send(self.lost, error))
        except OSError as error:
            self.link.send(_answer, opened, None, error)
        else:
            self.link.send(_answer, opened, None, None)

    def _perform(self, action: Callable[..., None], reply: asyncio.Future[Any], args: tuple[Any, ...]) -> None:
        """On the server's side."""
        session = self.session
        if session is None or session.ended or session.client_gone:
            return  # the news of the end is on its way
        if self.link.fail_next is not None:
            error, self.link.fail_next = self.link.fail_next, None
            if session.transaction:
                session.transaction.failed = True
            self._respond(reply, None, error)
            return
        action(session, lambda result, error: self._respond(reply, result, error), *args)

    def _respond(self, reply: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        in_transaction = self.session is not None and self.session.transaction is not None
        self.link.send(self._deliver, reply, result, error, in_transaction)

    def _deliver(
        self, reply: asyncio.Future[Any], result: Any, error: BaseException | None, in_transaction: bool
    ) -> None:
        self.in_transaction = in_transaction  # the server says so with every answer
        if reply.done() and self._cancelled is not None:
            cancelled, self._cancelled = self._cancelled, None
            _answer(cancelled, None, None)
        _answer(reply, result, error)

    def _cancel(self) -> None:
        """Cancels a statement that waits; one that has not arrived yet, or has ended, goes on."""
        if self.session and not self.session.ended:
            self.link.server.cancel(self.session)

    def _time_out(self, reply: asyncio.Future[Any]) -> None:
        if not reply.done():
            reply.set_exception(TimeoutError())


def _answer(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done() or future.get_loop().dead:  # type: ignore[attr-defined]
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class SimulatedTransaction:
    """connection.transaction(); within a transaction a savepoint, whose errors all end the outer transaction here."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._nested = connection.is_in_transaction()

    async def start(self) -> None:
        if not self._nested:
            await self._connection.backend.run(_begin)

    async def commit(self) -> None:
        backend = self._connection.backend
        if not self._nested:
            await backend.run(_commit, backend)

    async def rollback(self) -> None:
        if not self._nested:
            await self._connection.backend.run(_roll_back)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, error_type: Any, error: Any, traceback: Any) -> None:
        if error_type is None:
            await self.commit()
        else:
            await self.rollback()


def _begin(session: Session, reply: Any) -> None:
    session.server.begin(session)
    session.idle_since = session.server.scheduler.now
    reply(None, None)


def _commit(session: Session, reply: Any, backend: Backend) -> None:
    server, link = session.server, backend.link
    lose, link.lose_commit = link.lose_commit, None
    if lose != "before":
        server.commit(session)
    if lose is not None:
        server.count(f"connection lost {lose} COMMIT")
        server.end(session, asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"))
        return
    reply(None, None)


def _roll_back(session: Session, reply: Any) -> None:
    session.server.roll_back(session)
    reply(None, None)


def _execute(session: Session, reply: Any, run: Callable[[Transaction], Statement]) -> None:
    session.server.execute(session, run, reply)


class Connection:
    """A connection that was acquired. It cannot be used any more once the pool has it back."""

    def __init__(self, backend: Backend) -> None:
        self._backend: Backend | None = backend

    @property
    def backend(self) -> Backend:
        if self._backend is None:
            raise asyncpg.InterfaceError("cannot call a method of a connection that has been released back to the pool")
        return self._backend

    def release(self) -> None:
        self._backend = None

    def __dir__(self) -> list[str]:
        return []  # aiosql looks here for a pool's `acquire` before each statement

    async def fetch(self, sql: str, *arguments: Any, timeout: float | None = None) -> Any:
        rows = await self.backend.run(_execute, statement(sql, arguments))
        return rows if rows is not None else []

    async def fetchrow(self, sql: str, *arguments: Any, timeout: float | None = None) -> Any:
        rows = await self.backend.run(_execute, statement(sql, arguments))
        return rows[0] if rows else None

    async def fetchval(self, sql: str, *arguments: Any, timeout: float | None = None) -> Any:
        row = await self.fetchrow(sql, *arguments)
        return next(iter(row.values())) if row else None

    async def execute(self, sql: str, *arguments: Any, timeout: float | None = None) -> None:
        await self.backend.run(_execute, statement(sql, arguments))

    async def copy_to_table(self, table: str, *, source: AsyncIterator[bytes], columns: Any, **options: Any) -> None:
        data = b"".join([chunk async for chunk in source])
        await self.backend.run(_execute, copy_rows(HISTORIES[table], _decode_copy(data)))

    def transaction(self, **options: Any) -> SimulatedTransaction:
        return SimulatedTransaction(self)

    def get_server_pid(self) -> int:
        session = self.backend.session
        assert session is not None
        return session.pid

    def is_closed(self) -> bool:
        return self.backend.closed

    def is_in_transaction(self) -> bool:
        return self.backend.in_transaction

    def terminate(self) -> None:
        self.backend.terminate()


class Pool:
    """asyncpg.Pool for one process."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._idle: list[Backend] = []
        self._slots = asyncio.Semaphore(POOL_SIZE)

    def acquire(self, *, timeout: float | None = None) -> "_Acquire":
        return _Acquire(self)

    async def take(self) -> Connection:
        await self._slots.acquire()
        try:
            while self._idle:
                backend = self._idle.pop()
                if not backend.closed:
                    return Connection(backend)
            backend = Backend(self._link)
            await backend.connect()
            return Connection(backend)
        except BaseException:
            self._slots.release()
            raise

    async def release(self, connection: Connection) -> None:
        backend = connection.backend
        connection.release()
        try:
            if backend.busy:
                await asyncio.shield(asyncio.create_task(self._reset(backend)))
            elif not backend.closed:
                self._idle.append(backend)
        finally:
            self._slots.release()

    async def _reset(self, backend: Backend) -> None:
        try:
            await backend.settle()
            if backend.in_transaction:
                await backend.run(_roll_back)
            self._idle.append(backend)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            backend.terminate()


class _Acquire:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: Connection | None = None

    def __await__(self) -> Any:
        return self._pool.take().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._pool.take()
        return self._connection

    async def __aexit__(self, *error: object) -> None:
        assert self._connection is not None
        await self._pool.release(self._connection)


def _decode_copy(data: bytes) -> list[tuple[Any, ...]]:
    """The rows of a binary COPY: a text, an instant, and doubles."""
    rows, at = [], 19  # after the header
    while (columns := struct.unpack_from(">h", data, at)[0]) != -1:
        at += 2
        values: list[Any] = []
        for column in range(columns):
            size = struct.unpack_from(">i", data, at)[0]
            field = data[at + 4 : at + 4 + size]
            at += 4 + size
            if column == 0:
                values.append(field.decode())
            elif column == 1:
                values.append(_EPOCH + timedelta(microseconds=struct.unpack(">q", field)[0]))
            else:
                values.append(struct.unpack(">d", field)[0])
        rows.append(tuple(values))
    return rows
