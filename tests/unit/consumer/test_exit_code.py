"""The exit code of a consumer: 70 with one event for an error of our own code, whatever has raised it."""

import asyncpg
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from consumer import __main__ as command
from consumer.kafka.client import ClientStoppedError
from consumer.kafka.static_membership import InstanceIdTakenError
from consumer.settings import ConsumerSettings


def run_ending_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """The exit code, and the events that were logged."""

    async def end(settings: ConsumerSettings) -> None:
        raise error

    monkeypatch.setattr(command, "run_consumer", end)
    monkeypatch.setattr(command, "configure_logging", lambda _: None)
    with capture_logs() as logged:
        result = CliRunner().invoke(command.app)
    return result.exit_code, [each["event"] for each in logged]


@pytest.mark.parametrize(
    "error",
    [
        TypeError("in the shutdown, after the task group"),
        ExceptionGroup("unhandled errors in a TaskGroup", [TypeError("in a background task")]),
        ExceptionGroup("", [ClientStoppedError(), ExceptionGroup("", [asyncpg.InterfaceError("wrong use")])]),
    ],
)
def test_an_error_of_our_own_code_that_names_no_topic_ends_the_process_with_70(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_ending_with(error, monkeypatch) == (70, ["internal_error"])


@pytest.mark.parametrize(
    "error",
    [
        ExceptionGroup("unhandled errors in a TaskGroup", [ClientStoppedError("the client has stopped")]),
        InstanceIdTakenError("consumer-1"),
        OSError("address already in use"),
    ],
)
def test_another_end_is_no_error_of_our_own_code(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_ending_with(error, monkeypatch) == (1, [])
