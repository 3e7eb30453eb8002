"""Operator commands while Kafka does not respond: an error that may pass is waited for, another one is reported at once."""

from collections.abc import Iterator

import pytest
import stamina
import typer
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, NodeNotReadyError

from consumer.commands.runner import retry_kafka, run
from consumer.settings import ConsumerSettings

ATTEMPTS = 3


@pytest.fixture(autouse=True)
def few_attempts_without_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DATABASE_URL", "postgresql://energy@127.0.0.1:1/energy")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


def run_with(errors: list[KafkaError]) -> str:
    """Runs a command whose request to Kafka raises these errors, one at each attempt, and removes them from the list."""

    @retry_kafka
    async def request(_: ConsumerSettings) -> str:
        if errors:
            raise errors.pop(0)
        return "answer"

    return run(request)


def test_a_command_asks_again_while_the_error_may_pass() -> None:
    errors: list[KafkaError] = [NodeNotReadyError("broker 2"), NodeNotReadyError("broker 2")]
    assert run_with(errors) == "answer"
    assert not errors


def test_a_command_gives_up_and_says_that_kafka_has_not_responded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        run_with([NodeNotReadyError("broker 2") for _ in range(ATTEMPTS)])
    message = "Kafka at 127.0.0.1:1 has not responded for 15 seconds: NodeNotReadyError: broker 2\n"
    assert capsys.readouterr().err == message


def test_a_command_reports_an_error_that_does_not_pass_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    errors: list[KafkaError] = [GroupAuthorizationFailedError("group-1"), NodeNotReadyError("broker 2")]
    with pytest.raises(typer.Exit):
        run_with(errors)
    assert len(errors) == 1
    assert "Kafka at 127.0.0.1:1 reported an error: [Error 30] GroupAuth" in capsys.readouterr().err
