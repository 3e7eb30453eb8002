"""The documents: what they name exists (commands, links, files, tests, metrics), and fences of shell are run or have a reason."""

import re
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tests.support.repository.documents import SHELLS, anchors, documents, fences, inline_commands, links, prose
from tests.support.repository.shell import HOW_TO_MARK, NOT_OURS, commands, lookup_error


@pytest.mark.parametrize("document", documents())
def test_every_fence_names_its_language(document: str) -> None:
    bare = [str(fence) for fence in fences(document) if not re.fullmatch(r"[a-z]+", fence.language)]
    assert not bare, (
        f"{bare}: name the language: ```sh for commands, ```text for output and drawings, ```json, ```sql ..."
    )


@pytest.mark.parametrize("document", documents())
def test_every_fence_of_shell_is_run_or_has_a_reason_why_not(document: str) -> None:
    for fence in fences(document):
        if fence.language in SHELLS:
            assert fence.runs != bool(fence.reason), f"{fence}: write ```sh run, or {HOW_TO_MARK}"


@pytest.mark.parametrize("document", documents())
def test_commands_in_fences_exist(document: str) -> None:
    for fence in fences(document):
        if fence.language in SHELLS:
            try:
                found = list(commands(fence.text))
            except ValueError as error:
                pytest.fail(f"{fence} cannot be parsed as shell ({error}): {HOW_TO_MARK}")
            errors = [f"{' '.join(command)}: {why}" for command in found if (why := lookup_error(command))]
            if fence.reason:  # other programs are allowed there; commands of this repository must still exist
                errors = [each for each in errors if NOT_OURS not in each]
            assert not errors, f"{fence}: " + "; ".join(errors)


@pytest.mark.parametrize("document", documents())
def test_commands_in_prose_exist(document: str) -> None:
    for code in inline_commands(document):
        first = next(iter(commands(code.partition(" | ")[0])))
        assert lookup_error(first) is None, f"{document}: `{code}`: {lookup_error(first)}"


@pytest.mark.parametrize("document", documents())
def test_links_lead_somewhere(document: str) -> None:
    for target in links(document):
        path, _, anchor = target.partition("#")
        file = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        name = str(file.relative_to(ROOT))
        assert file.exists(), f"{document} links to {target}, which does not exist"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(name), f"{document} links to {target}; {name} has {sorted(anchors(name))}"


@pytest.mark.parametrize("document", documents())
def test_files_in_prose_exist(document: str) -> None:
    files = re.findall(r"\b(?:api|consumer|deploy|docs|schemas|sql|tests)/[\w./-]+\.[a-z]+\b", prose(document))
    assert [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("document", documents())
def test_tests_in_prose_exist(document: str) -> None:
    quoted = re.findall(r"`(test_\w+)`", prose(document))
    assert set(quoted) - set(re.findall(r"\bdef (test_\w+)", source("tests"))) == set()


def test_metrics_in_prose_exist() -> None:
    product = source("api", "consumer", "deploy", "schemas", "sql")
    names = {name for document in documents() for name in re.findall(r"`(energy_\w+)", prose(document))}
    short = {name: re.sub(r"^energy_|_(total|count)$", "", name) for name in names}
    assert [name for name in names if not re.search(rf"(\b|_){short[name]}(\b|_total)", product)] == []


def test_every_metric_is_in_a_document() -> None:
    metrics = re.findall(
        r"\b(?:Counter|Gauge|Histogram)\(\s*\"(energy_\w+)\"", source("api", "consumer", "schemas", "sql")
    )
    text = "".join(prose(document) for document in documents())
    assert metrics
    assert [name for name in metrics if name not in text] == []


def source(*packages: str) -> str:
    """The text of all Python and SQL files of these packages."""
    files = (file for package in packages for file in (ROOT / package).rglob("*"))
    return "\n".join(file.read_text() for file in files if file.suffix in {".py", ".sql"})


def test_the_index_links_every_document() -> None:
    linked = {(ROOT / "docs" / target.partition("#")[0]).resolve() for target in links("docs/README.md")}
    missing = [
        name for name in documents() if Path(name).parent == Path("docs") and (ROOT / name).resolve() not in linked
    ]
    assert set(missing) <= {"docs/README.md"}, f"docs/README.md should link to {missing}"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("make demo", None),
        ("make no-such-thing", "no target no-such-thing"),
        ('RUNS=3 make bench ONLY=quick | grep \'"run":"median"\'', None),
        ("python -m consumer offsets reset TOPIC PARTITION --to 2026-11-01T00:00:00Z   # anywhere else", None),
        ("python -m consumer offsets forget", "has no command forget"),
        ("python -m consumer dead-letters list [--topic T] [--reason R] [--json]", None),
        ("python -m sql maintain --twice", "has no option --twice"),
        ("python -m api --port 1", "has no option --port"),
        ("python -m deploy.simulator --devices 5", None),
        ("python -m deploy.nothing", "no module deploy.nothing"),
        ("python -m nothing", "not looked up"),
        ("export DATABASE_URL=... && python -m sql migrate", None),
        ("until curl -sf http://127.0.0.1:3000/v1/vehicles/VEH-001; do sleep 1; done", None),
        ("curl http://127.0.0.1:3000/v1/cars", "no route /v1/cars"),
        ("python -m consumer > out.log 2>&1 &", None),
        ("python -m sql migrate twice", "takes no twice"),
        ("python -m sql assign assignments.csv", None),
        ("python -m tests.support.repository.configuration", None),
        ("python -m tests.support.repository.configuration now", "takes no arguments"),
        ("kubectl get pods", "not run here"),
        ("curl -X POST localhost:3000/v1/ingestion/meter --data-binary @- <<END\n{a: 1; b}\nEND\nmake demo", None),
        ("curl localhost:3000/v1/ingestion/cars --data-binary @- <<END\n{a}\nEND", "no route /v1/ingestion/cars"),
        ("curl -s http://127.0.0.1:9464/metrics | grep energy_", None),
    ],
)
def test_the_lookup_of_a_command_line_finds_what_is_wrong(line: str, error: str | None) -> None:
    found = [why for command in commands(line) if (why := lookup_error(command))]
    assert (error in found[0]) if error else found == [], found


def test_fences_and_anchors_of_real_documents_are_parsed() -> None:
    found = fences("docs/getting-started.md")
    assert any(fence.reason == "`make containers` runs the compose file" for fence in found)
    assert any(fence.runs and "python -m sql migrate" in fence.text for fence in found)
    assert "step-by-step" in anchors("docs/getting-started.md")
    assert "the-promise" in anchors("README.md")
