"""The Python modules of a checkout: their imports, the length of their functions, their accesses to private attributes."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = ("consumer", "api", "sql", "schemas", "deploy", "tests")
# Public names with an underscore: methods of named tuples, os._exit.
PUBLIC_UNDERSCORES: Final = {"_replace", "_asdict", "_fields", "_make", "_exit"}


@dataclass(frozen=True, slots=True)
class Function:
    """A function and its length, from `def` to its last line, docstring and nested functions included."""

    name: str
    lines: int


@dataclass(frozen=True, slots=True)
class Module:
    """One file. `imports` are modules of the checkout, `libraries` are dotted names from outside it."""

    name: str
    path: Path
    imports: frozenset[str]
    libraries: frozenset[str]
    functions: tuple[Function, ...]
    private_accesses: tuple[str, ...]


def read_modules(checkout: Path) -> dict[str, Module]:
    """The modules of a checkout by dotted name. The name of a package stands for its `__init__.py`."""
    files = [file for package in PACKAGES for file in sorted((checkout / package).rglob("*.py"))]
    paths = {module_name(file.relative_to(checkout)): file.relative_to(checkout) for file in files}
    return {name: _read(checkout, name, path, paths) for name, path in paths.items()}


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_by_folder(modules: Iterable[Module]) -> dict[str, int]:
    """The number of modules directly in each folder, not counting `__init__.py`."""
    counts: dict[str, int] = {}
    for module in modules:
        folder = module.path.parent.as_posix()
        counts[folder] = counts.get(folder, 0) + (module.path.name != "__init__.py")
    return counts


def imported_names(tree: ast.Module, package: str) -> Iterator[tuple[str, str | None]]:
    """Every import in a source, including those inside functions, as a module and the name imported from it, if any."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            anchor = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, [anchor, node.module]))
            yield from ((source, alias.name) for alias in node.names)


def _read(checkout: Path, name: str, path: Path, names: Mapping[str, Path]) -> Module:
    tree = ast.parse((checkout / path).read_text(), path.as_posix())
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    inside, outside = set(), set()
    for source, name_in_source in imported_names(tree, package):
        if source.partition(".")[0] not in PACKAGES:
            outside.add(source)
        else:
            submodule = f"{source}.{name_in_source}"
            inside.add(submodule if submodule in names else source)
    accesses = tuple(_private_accesses(tree))
    return Module(name, path, frozenset(inside - {name}), frozenset(outside), tuple(_functions(tree)), accesses)


def _functions(tree: ast.Module) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(node.name, (node.end_lineno or node.lineno) - node.lineno + 1)


def _private_accesses(tree: ast.Module) -> Iterator[str]:
    """Private attributes of other objects: `consumer._coordinator`, but not `self._pool` nor `self.__class__`."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
            and node.attr not in PUBLIC_UNDERSCORES
            and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
        ):
            yield ast.unparse(node)
