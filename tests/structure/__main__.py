"""`make structure`, or `python -m tests.structure [checkout]`: modules per folder, import chains, and the breaches of each rule.

Reads files and runs none, so the checkout may be of any commit. Exits with code 1 when a rule is broken.
"""

import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.structure.graph import longest_chain
from tests.structure.rules import RULES
from tests.structure.source import PACKAGES, Module, modules_by_folder, read_modules
from tests.support.repository import ROOT

FOLDERS_SHOWN = 10
BREACHES_SHOWN = 15


def main() -> None:
    """Print the report on the checkout that is named, or on this one."""
    modules = read_modules(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
    breaches = {rule: list(breaches_of(modules.values())) for rule, breaches_of in RULES.items()}
    print("\n".join([*folders(modules.values()), "", *chains(modules), "", *results(breaches)]))  # noqa: T201
    sys.exit(any(breaches.values()))


def folders(modules: Iterable[Module]) -> list[str]:
    """The folders with the most modules."""
    counts = sorted(modules_by_folder(modules).items(), key=lambda each: (-each[1], each[0]))
    heading = f"{'modules':>7}  folder, the {FOLDERS_SHOWN} fullest of {sum(count > 0 for _, count in counts)}"
    return [heading, *(f"{count:>7}  {folder}" for folder, count in counts[:FOLDERS_SHOWN])]


def chains(modules: Mapping[str, Module]) -> list[str]:
    """The longest chain of imports inside each package, and across all."""
    lines = [f"{'modules':>7}  longest chain of imports"]
    for scope in (*PACKAGES, "all"):
        inside = {name for name in modules if scope == "all" or name.partition(".")[0] == scope}
        chain = longest_chain({name: modules[name].imports & inside for name in inside})
        start = f"{len(chain):>7}  {scope}: "
        lines.append(textwrap.fill(" > ".join(chain), 120, initial_indent=start, subsequent_indent=" " * 11))
    return lines


def results(breaches: Mapping[str, list[str]]) -> list[str]:
    """For each rule the number of its breaches, and the first of them."""
    lines = [f"{'number':>7}  rule"]
    for rule, found in breaches.items():
        more = [f"... and {len(found) - BREACHES_SHOWN} more"] if len(found) > BREACHES_SHOWN else []
        lines += [f"{len(found):>7}  {rule}", *(f"{'':>11}{each}" for each in found[:BREACHES_SHOWN] + more)]
    return lines


if __name__ == "__main__":
    main()
