"""Servers that are started at the same time, by the workers of a parallel test run or by two checkouts."""

import itertools
import secrets
import socket
import subprocess

import pytest

from deploy.stack import ports, postgres


def test_a_port_is_not_given_away_again_before_its_server_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_port()
    numbers = itertools.chain([first], ports.CANDIDATES)
    monkeypatch.setattr(secrets, "choice", lambda _: next(numbers))
    assert ports.free_port() != first


def test_a_port_that_another_process_has_reserved_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reserved:
        reserved.bind(("127.0.0.1", 0))
        taken = reserved.getsockname()[1]
        numbers = itertools.chain([taken], ports.CANDIDATES)
        monkeypatch.setattr(secrets, "choice", lambda _: next(numbers))
        assert ports.free_port() != taken


def test_reservations_are_bounded() -> None:
    for _ in range(2 * ports.MOST_RESERVED):
        ports.free_port()
    assert len(ports._reserved) == ports.MOST_RESERVED


def test_an_account_that_another_start_creates_at_the_same_time_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def ensure(account: str) -> None:
        calls.append(account)
        if len(calls) == 1:
            raise subprocess.CalledProcessError(9, "useradd")  # it exists by now

    monkeypatch.setattr(postgres, "ensure_user_exists", ensure)
    postgres._ensure_account("energy")
    assert calls == ["energy", "energy"]
