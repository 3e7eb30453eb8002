"""`make containers` where no container engine can be had: it says so, and in CI it fails."""

import re

import pytest
import typer

from deploy.containers import __main__ as command
from deploy.containers import isolation
from tests.support.repository import ROOT


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_an_engine_nothing_is_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, code: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.delenv(command.ISOLATED, raising=False)
    monkeypatch.setattr(command, "engine_answers", lambda docker: False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(typer.Exit) as ended:
        command.main()
    assert ended.value.exit_code == code
    assert "nothing was checked: no container engine can be used, and none can be started: that needs root" in (
        capsys.readouterr().err
    )


def test_ci_installs_what_an_engine_of_our_own_needs() -> None:
    installed = set(re.findall(r"^need \S+ (\S+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE))
    assert set(isolation.PROGRAMS.values()) - {"iptables"} <= installed  # docker.io depends on iptables
