"""The model of the server: READ COMMITTED transactions over dictionaries, row locks, sessions that end, and lost answers.

A statement is a generator. It yields each row `(table, key)` that it has to lock, and continues once it holds the lock; what it
returns is the answer. Rows that it writes are kept with its transaction until COMMIT.
"""

from collections import deque
from collections.abc import Callable, Generator
from random import Random
from typing import Any, Final

import asyncpg

from tests.simulation.event_loop import Scheduler

Row = tuple[str, Any]  # table, key
Statement = Generator[Row, None, Any]
Reply = Callable[[Any, BaseException | None], None]

DEADLOCK_SECONDS: Final = 1.0  # deadlock_timeout
LOCK_SECONDS: Final = 10.0  # lock_timeout of the writers
IDLE_IN_TRANSACTION_SECONDS: Final = 10.0
TABLES: Final = (
    "offsets",
    "meter",
    "vehicle",
    "meter_live",
    "vehicle_live",
    "letters",
    "late",
    "breakers",
    "decisions",
)


class Transaction:
    """The writes and locks of one transaction, or of one statement outside of any."""

    __slots__ = ("began", "failed", "locks", "session", "tables", "writes")

    def __init__(self, session: "Session", tables: dict[str, dict[Any, Any]], began: float) -> None:
        self.session = session
        self.tables = tables
        self.began = began
        self.writes: dict[Row, Any] = {}
        self.locks: list[Row] = []
        self.failed = False

    def get(self, table: str, key: Any) -> Any:
        """The row as this transaction sees it; None when there is none."""
        if (table, key) in self.writes:
            return self.writes[table, key]
        return self.tables[table].get(key)

    def put(self, table: str, key: Any, value: Any) -> None:
        """Write a row, or delete it (None). The caller holds its lock."""
        self.writes[table, key] = value


class Session:
    """One connection as the server sees it."""

    def __init__(self, server: "Server", pid: int, owner: str, on_end: Callable[[BaseException], None]) -> None:
        self.server = server
        self.pid = pid
        self.owner = owner
        self.on_end = on_end  # tells the client, after the latency of the network
        self.transaction: Transaction | None = None
        self.ended = False
        self.client_gone = False
        self.subject_to_timeouts = True
        self.request: Request | None = None
        self.waiting_for: Row | None = None
        self.idle_since = 0.0


class Request:
    """A statement on its way through the server."""

    __slots__ = ("implicit", "reply", "session", "statement", "transaction", "waits")

    def __init__(self, session: Session, statement: Statement, transaction: Transaction, implicit: bool, reply: Reply):
        self.session = session
        self.statement = statement
        self.transaction = transaction
        self.implicit = implicit
        self.reply = reply
        self.waits = 0


class Server:
    """The database. `on_commit` is called with every transaction that has written, before its writes are visible."""

    def __init__(self, scheduler: Scheduler, rng: Random, on_commit: Callable[[Transaction], None]) -> None:
        self.scheduler = scheduler
        self.rng = rng
        self.up = True
        self.tables: dict[str, dict[Any, Any]] = {table: {} for table in TABLES}
        self.sessions: dict[int, Session] = {}
        self.commits = 0
        self.counts: dict[str, int] = {}
        self.on_change: Callable[[], None] = lambda: (
            None
        )  # called with each transaction whose writes have become visible
        self._on_commit = on_commit
        self._locks: dict[Row, Transaction] = {}
        self._queues: dict[Row, deque[Request]] = {}
        self._undo: list[tuple[float, dict[Row, Any]]] = []
        self._last_pid = 100

    def count(self, event: str) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1

    # Sessions

    def connect(self, owner: str, on_end: Callable[[BaseException], None]) -> Session:
        """Raises ConnectionRefusedError while the server is down."""
        if not self.up:
            raise ConnectionRefusedError("the database server is down")
        self._last_pid += 1
        session = Session(self, self._last_pid, owner, on_end)
        self.sessions[session.pid] = session
        return session

    def end(self, session: Session, error: BaseException) -> None:
        """End a session: its transaction is rolled back, and its client learns of it."""
        if session.ended:
            return
        session.ended = True
        self.sessions.pop(session.pid, None)
        self._abandon_wait(session)
        request, session.request = session.request, None
        self._roll_back(session.transaction)
        if request and request.implicit:
            self._roll_back(request.transaction)
        session.transaction = None
        if not session.client_gone:
            session.on_end(error)

    def client_left(self, session: Session) -> None:
        """The client has closed the connection. A statement in progress runs to its end before the server notices."""
        session.client_gone = True
        if session.request is None:
            self.end(session, ConnectionResetError())

    def crash(self, lost_seconds: float = 0.0) -> int:
        """End all sessions; with an asynchronous standby the commits of the last seconds are gone. Returns their number."""
        for session in list(self.sessions.values()):
            self.end(session, asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"))
        self.up = False
        lost = 0
        while self._undo and self._undo[-1][0] > self.scheduler.now - lost_seconds:
            for (table, key), before in self._undo.pop()[1].items():
                if before is None:
                    self.tables[table].pop(key, None)
                else:
                    self.tables[table][key] = before
            lost += 1
        return lost

    # Statements

    def begin(self, session: Session) -> None:
        session.transaction = Transaction(session, self.tables, self.scheduler.now)

    def execute(self, session: Session, statement: Callable[[Transaction], Statement], reply: Reply) -> None:
        """Run a statement; `reply` gets its result or its error, perhaps later."""
        transaction = session.transaction
        if transaction is not None and transaction.failed:
            reply(None, asyncpg.InFailedSQLTransactionError("current transaction is aborted"))
            return
        implicit = transaction is None
        if transaction is None:
            transaction = Transaction(session, self.tables, self.scheduler.now)
        request = Request(session, statement(transaction), transaction, implicit, reply)
        session.request = request
        self._advance(request)

    def commit(self, session: Session) -> None:
        transaction, session.transaction = session.transaction, None
        if transaction is None:
            return
        if transaction.failed:
            self._roll_back(transaction)
        else:
            self._commit(transaction)

    def roll_back(self, session: Session) -> None:
        transaction, session.transaction = session.transaction, None
        self._roll_back(transaction)

    def cancel(self, session: Session) -> None:
        """Cancel the statement that the session waits in, if it does."""
        if session.request and session.waiting_for:
            request = session.request
            self._abandon_wait(session)
            self._fail(request, asyncpg.QueryCanceledError("canceling statement due to user request"))

    def blocking(self, pid: int) -> list[Session]:
        """The sessions that the given one waits for: the holder of the lock, and those before it in the queue."""
        session = self.sessions.get(pid)
        if session is None or session.waiting_for is None or session.request is None:
            return []
        row = session.waiting_for
        holders = [self._locks[row].session] if row in self._locks else []
        for request in self._queues.get(row, ()):
            if request is session.request:
                break
            holders.append(request.session)
        return holders

    def is_locked(self, row: Row) -> bool:
        """Whether a transaction holds the row's lock, or will get it before anybody who asks now."""
        return row in self._locks or row in self._queues

    def end_idle_transactions(self, owner: str) -> None:
        """idle_in_transaction_session_timeout, for the sessions of a process that has stopped."""
        for session in list(self.sessions.values()):
            idle = session.transaction is not None and session.request is None and session.subject_to_timeouts
            if (
                session.owner == owner
                and idle
                and self.scheduler.now - session.idle_since >= IDLE_IN_TRANSACTION_SECONDS
            ):
                self.count("idle transaction ended by the server")
                self.end(session, asyncpg.IdleInTransactionSessionTimeoutError("terminating connection due to idle"))

    def _advance(self, request: Request) -> None:
        session = request.session
        try:
            while True:
                row = next(request.statement)
                if not self._lock(request, row):
                    return
        except StopIteration as stop:
            session.request = None
            session.idle_since = self.scheduler.now
            if request.implicit:
                self._commit(request.transaction)
            request.reply(stop.value, None)
        except asyncpg.PostgresError as error:
            self._fail(request, error)
            return
        if session.client_gone:
            self.end(session, ConnectionResetError())

    def _fail(self, request: Request, error: BaseException) -> None:
        session = request.session
        session.request = None
        session.idle_since = self.scheduler.now
        if request.implicit:
            self._roll_back(request.transaction)
        else:
            self._roll_back(request.transaction)  # locks and writes are gone; the block stays until ROLLBACK
            request.transaction.failed = True
        request.reply(None, error)
        if session.client_gone:
            self.end(session, ConnectionResetError())

    # Locks

    def _lock(self, request: Request, row: Row) -> bool:
        holder = self._locks.get(row)
        transaction = request.transaction
        if holder is transaction:
            return True
        if holder is None and row not in self._queues:
            self._locks[row] = transaction
            transaction.locks.append(row)
            return True
        self._queues.setdefault(row, deque()).append(request)
        request.session.waiting_for = row
        request.waits += 1
        self.scheduler.call_later(DEADLOCK_SECONDS, self._check_deadlock, request, request.waits)
        self.scheduler.call_later(LOCK_SECONDS, self._expire, request, request.waits)
        return False

    def _is_waiting(self, request: Request, wait: int) -> bool:
        session = request.session
        return request.waits == wait and session.request is request and session.waiting_for is not None

    def _check_deadlock(self, request: Request, wait: int) -> None:
        if not self._is_waiting(request, wait):
            return
        seen: set[int] = set()
        reached = [request.session.pid]
        while reached:
            for session in self.blocking(reached.pop()):
                if session is request.session:
                    self.count("deadlock")
                    self._abandon_wait(session)
                    self._fail(request, asyncpg.DeadlockDetectedError("deadlock detected"))
                    return
                if session.pid not in seen:
                    seen.add(session.pid)
                    reached.append(session.pid)

    def _expire(self, request: Request, wait: int) -> None:
        if self._is_waiting(request, wait):
            self.count("lock time-out")
            self._abandon_wait(request.session)
            self._fail(request, asyncpg.LockNotAvailableError("canceling statement due to lock timeout"))

    def _abandon_wait(self, session: Session) -> None:
        row, session.waiting_for = session.waiting_for, None
        if row is None or session.request is None:
            return
        queue = self._queues[row]
        queue.remove(session.request)
        if not queue:
            del self._queues[row]
        elif row not in self._locks:
            self._grant(row)

    def _grant(self, row: Row) -> None:
        queue = self._queues.get(row)
        if not queue:
            return
        request = queue.popleft()
        if not queue:
            del self._queues[row]
        request.session.waiting_for = None
        self._locks[row] = request.transaction
        request.transaction.locks.append(row)
        self._advance(request)

    def _release(self, transaction: Transaction) -> None:
        locks, transaction.locks = transaction.locks, []
        for row in locks:
            if self._locks.get(row) is transaction:
                del self._locks[row]
        for row in locks:
            if row not in self._locks:
                self._grant(row)

    # The ends of transactions

    def _commit(self, transaction: Transaction) -> None:
        if transaction.writes:
            self._on_commit(transaction)
            before = {}
            for (table, key), value in transaction.writes.items():
                before[table, key] = self.tables[table].get(key)
                if value is None:
                    self.tables[table].pop(key, None)
                else:
                    self.tables[table][key] = value
            self._undo.append((self.scheduler.now, before))
            self.commits += 1
            self.on_change()
        self._release(transaction)

    def _roll_back(self, transaction: Transaction | None) -> None:
        if transaction is not None:
            transaction.writes.clear()
            self._release(transaction)
