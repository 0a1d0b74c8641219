"""The imports among the modules of a source tree, read from the source: edges, circles, and the order of floors."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


def modules_of(root: Path, packages: Sequence[str]) -> dict[str, Path]:
    """Every module of the packages below `root`, by its dotted name."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports, wherever the import stands and also by name.

    `from a import b` gives `a` and `a.b`, since b may be a module. Names that are put together at run time cannot be
    seen, but for the constant that they start with.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            argument = node.args[0]
            if name in ("import_module", "__import__") and isinstance(argument, ast.Constant):
                yield node.lineno, str(argument.value)


def import_graph(modules: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    """For each module the modules among them that it imports, with the line; a package counts by its `__init__`."""
    graph: dict[str, dict[str, int]] = {name: {} for name in modules}
    for name, path in modules.items():
        for line, target in imports_of(ast.parse(path.read_text(encoding="utf-8"))):
            if target in modules and target != name:
                graph[name].setdefault(target, line)
    return graph


def circles(graph: Mapping[str, Mapping[str, int]]) -> list[list[str]]:
    """The groups of modules that import each other in a circle (strongly connected components of two or more)."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(name: str, edges: Mapping[str, Sequence[str]], into: list[str]) -> None:
        stack = [(name, iter(edges[name]))]
        seen.add(name)
        while stack:
            current, rest = stack[-1]
            following = next((target for target in rest if target not in seen), None)
            if following is None:
                stack.pop()
                into.append(current)
            else:
                seen.add(following)
                stack.append((following, iter(edges[following])))

    forwards = {name: list(targets) for name, targets in graph.items()}
    for name in forwards:
        if name not in seen:
            visit(name, forwards, order)
    backwards: dict[str, list[str]] = {name: [] for name in forwards}
    for name, targets in forwards.items():
        for target in targets:
            backwards[target].append(name)
    seen.clear()
    found = []
    for name in reversed(order):
        if name not in seen:
            group: list[str] = []
            visit(name, backwards, group)
            if len(group) > 1:
                found.append(sorted(group))
    return found


def climbs(graph: Mapping[str, Mapping[str, int]], package: str, floors: Sequence[str]) -> list[str]:
    """Imports of a package's modules that go from a floor to a higher one, as "module:line imports module".

    Args:
        graph: of `import_graph`.
        package: its name.
        floors: its sub-packages from the lowest to the highest. Modules beside them lie below all.
    """

    def floor(module: str) -> int:
        parts = module.split(".")
        if len(parts) < 2 or parts[1] not in floors:
            return -1
        return floors.index(parts[1])

    inside = f"{package}."
    return [
        f"{name}:{line} imports {target}"
        for name, targets in graph.items()
        for target, line in targets.items()
        if name.startswith(inside) and target.startswith(inside) and floor(target) > floor(name)
    ]
