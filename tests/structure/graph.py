"""A graph of imports: its cycles and its longest chain."""

from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import TopologicalSorter

Graph = Mapping[str, frozenset[str]]


def cycles(graph: Graph) -> list[list[str]]:
    """The strongly connected components of more than one module: modules that import each other, directly or through others."""
    return sorted(sorted(component) for component in _components(graph) if len(component) > 1)


def longest_chain(graph: Graph) -> list[str]:
    """The longest path of imports, importer first. A cycle counts as one step, named by all its modules."""
    component_of = {node: component for component in _components(graph) for node in component}
    below: dict[frozenset[str], set[frozenset[str]]] = {component: set() for component in component_of.values()}
    for node, targets in graph.items():
        below[component_of[node]] |= {component_of[each] for each in targets if each in graph} - {component_of[node]}
    chains: dict[frozenset[str], list[str]] = {}
    for component in TopologicalSorter(below).static_order():
        longest = max((chains[each] for each in sorted(below[component], key=sorted)), key=len, default=[])
        chains[component] = [" = ".join(sorted(component)), *longest]
    return max(sorted(chains.values()), key=len, default=[])


def _components(graph: Graph) -> Iterable[frozenset[str]]:
    """The strongly connected components: sets of nodes that are reachable from each other."""

    @cache
    def reachable(start: str) -> frozenset[str]:
        found, waiting = set[str](), [start]
        while waiting:
            new = graph.get(waiting.pop(), frozenset()) - found
            found |= new
            waiting += new
        return frozenset(found)

    return {frozenset({node} | {other for other in reachable(node) if node in reachable(other)}) for node in graph}
