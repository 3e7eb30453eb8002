"""librdkafka, as Confluent's client for Python."""

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import Producer

from tests.support.clients.session import Session, Transaction

DEADLINE_SECONDS: Final = 60.0


def run(sessions: Iterable[Session]) -> None:
    """Runs one session after another; returns when all records are acknowledged."""
    for session in sessions:
        _run(session)


def _run(session: Session) -> None:
    failures: list[Any] = []
    producer = Producer(dict(session.settings))
    if session.transaction:
        producer.init_transactions(DEADLINE_SECONDS)
        producer.begin_transaction()
    for each in session.messages:
        producer.produce(
            each.topic,
            each.value,
            partition=each.partition,
            headers=list(each.headers),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(DEADLINE_SECONDS) == 0
    if session.transaction is Transaction.COMMIT:
        producer.commit_transaction(DEADLINE_SECONDS)
    elif session.transaction is Transaction.ABORT:
        producer.abort_transaction(DEADLINE_SECONDS)
    assert not failures, failures
