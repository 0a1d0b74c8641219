"""Finds in source code what can run foreign code: reading pickles (in whatever disguise), unsafe YAML, eval and exec.

Names are followed through imports (`import pickle as p`, `from pickle import loads`), plain assignments (`p = pickle`),
`getattr`, and imports by name. What data flow hides beyond that is not found.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

PICKLES = ("pickle", "_pickle", "cPickle", "pickle5", "dill", "cloudpickle", "marshal", "shelve", "joblib")
"""Modules that make objects from bytes as the bytes say; they may be used to write."""
_LOADERS = ("load", "loads", "_load", "_loads", "Unpickler", "_Unpickler", "open", "Shelf", "DbfilenameShelf")
_OTHERS = (
    "torch.load",
    "torch.serialization.load",
    "paddle.load",
    "paddle.framework.load",
    "paddle.framework.io.load",
    "pandas.read_pickle",
    "pandas.io.pickle.read_pickle",
    "multiprocessing.reduction.ForkingPickler.loads",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
    "yaml.full_load",
    "yaml.full_load_all",
    "builtins.eval",
    "builtins.exec",
)
FORBIDDEN = frozenset([*(f"{module}.{name}" for module in PICKLES for name in _LOADERS), *_OTHERS])
"""What must not even be named. Beside these, calls are looked at: `yaml.load`, `numpy.load`, `allow_pickle`."""
_SAFE_LOADERS = frozenset(f"yaml.{name}" for name in ("SafeLoader", "CSafeLoader", "BaseLoader", "CBaseLoader"))
_ALLOW_PICKLE = {"numpy.load": 2, "numpy.lib.format.read_array": 1, "numpy.lib.npyio.load": 2}
"""The place of `allow_pickle` among the arguments."""
_HIDING = (*PICKLES, "yaml", "builtins")
"""Modules of which an attribute must be named in the source."""
_BUILTINS = ("eval", "exec", "getattr", "vars", "__import__")


@dataclass(frozen=True)
class Finding:
    """One place in a file.

    Attributes:
        line: where.
        within: name of the function or class around it, with dots; "" at the top of the file.
        what: "pickle.loads", "numpy.load with allow_pickle", and so on.
    """

    line: int
    within: str
    what: str


def unsafe_reads(tree: ast.Module) -> list[Finding]:
    """Everything in a file that can run foreign code, by line."""
    scan = _Scan(tree)
    scan.visit(tree)
    return sorted(set(scan.findings), key=lambda finding: (finding.line, finding.what))


class _Scan(ast.NodeVisitor):
    """Visits a file once; `names` says what each name of the file can stand for."""

    def __init__(self, tree: ast.Module) -> None:
        self.findings: list[Finding] = []
        self.names: dict[str, set[str]] = defaultdict(set)
        for name in _BUILTINS:
            self.names[name].add(f"builtins.{name}")
        self._around: list[str] = []
        for node in ast.walk(tree):
            self._learn_import(node)
        # Twice, for a name that is assigned from one that is assigned further down.
        for node in (each for _ in range(2) for each in ast.walk(tree)):
            self._learn_assignment(node)

    def _learn_import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name if alias.asname else alias.name.split(".")[0]
                self.names[alias.asname or top].add(top)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                self.names[alias.asname or alias.name].add(f"{node.module}.{alias.name}")

    def _learn_assignment(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            return
        for target in targets:
            if isinstance(target, ast.Name):
                self.names[target.id] |= self._meant(value)

    def _meant(self, node: ast.AST | None) -> set[str]:
        """The dotted names that an expression can stand for; none for what is not followed."""
        if isinstance(node, ast.Name):
            return set(self.names.get(node.id, ()))
        if isinstance(node, ast.NamedExpr):
            return self._meant(node.value)
        if isinstance(node, ast.Attribute):
            return {f"{base}.{node.attr}" for base in self._meant(node.value)}
        if isinstance(node, ast.Call):
            called = self._meant(node.func)
            if called & {"builtins.__import__", "importlib.import_module", "importlib.__import__"}:
                return _text(_argument(node, 0, "name"))
            if "builtins.getattr" in called:
                bases, attributes = self._meant(_argument(node, 0)), _text(_argument(node, 1))
                return {f"{base}.{attribute}" for base in bases for attribute in attributes}
        if isinstance(node, ast.Subscript) and "sys.modules" in self._meant(node.value):
            return _text(node.slice)
        return set()

    def _find(self, node: ast.AST, what: str) -> None:
        self.findings.append(Finding(getattr(node, "lineno", 1), ".".join(self._around), what))

    def visit(self, node: ast.AST) -> None:
        """Look at a node and at all below it."""
        scoped = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if scoped:
            self._around.append(node.name)  # type: ignore[attr-defined]
        skipped = set(self._checked_bases(node)) if isinstance(node, ast.ClassDef) else set()
        for what in self._at(node):
            self._find(node, what)
        for child in ast.iter_child_nodes(node):
            if child not in skipped:
                self.visit(child)
        if scoped:
            self._around.pop()

    def _checked_bases(self, node: ast.ClassDef) -> Iterator[ast.expr]:
        """Bases that unpickle, of a class that decides itself what a pickle may name; they are found as such."""
        methods = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
        for base in node.bases:
            for name in self._meant(base):
                if name in FORBIDDEN and name.endswith("Unpickler") and {"find_class", "persistent_load"} <= methods:
                    self._find(node, f"subclass of {name} with its own find_class")
                    yield base

    def _at(self, node: ast.AST) -> Iterator[str]:
        """What is wrong at one node, apart from the nodes below it."""
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                if alias.name == "*" and node.module in _HIDING:
                    yield f"{node.module}.*"
                elif f"{node.module}.{alias.name}" in FORBIDDEN:
                    yield f"{node.module}.{alias.name}"
        elif isinstance(node, (ast.Name, ast.Attribute)):
            yield from self._meant(node) & FORBIDDEN
            if isinstance(node, ast.Attribute) and node.attr == "__dict__":
                yield from (f"{base}.__dict__" for base in self._meant(node.value) & set(_HIDING))
        elif isinstance(node, ast.Subscript):
            yield from (f"sys.modules[{name!r}]" for name in self._meant(node) & set(PICKLES))
        elif isinstance(node, ast.Call):
            yield from self._at_call(node)

    def _at_call(self, node: ast.Call) -> Iterator[str]:
        called, meant = self._meant(node.func), self._meant(node)
        yield from meant & FORBIDDEN
        yield from (f"import of {name} by name" for name in meant & set(PICKLES))
        if called & {"builtins.getattr", "builtins.vars"}:
            hidden = self._meant(_argument(node, 0)) & set(_HIDING)
            if "builtins.vars" in called or not _text(_argument(node, 1)):
                yield from (f"some attribute of {name}" for name in hidden)
        for name in ("yaml.load", "yaml.load_all"):
            if name in called and not self._meant(_argument(node, 1, "Loader")) & _SAFE_LOADERS:
                yield f"{name} without SafeLoader"
        allowed = [keyword.value for keyword in node.keywords if keyword.arg == "allow_pickle"]
        for name in called & _ALLOW_PICKLE.keys():
            unknown = [keyword.value for keyword in node.keywords if keyword.arg is None]
            unknown += [argument for argument in node.args if isinstance(argument, ast.Starred)]
            allowed += [*node.args[_ALLOW_PICKLE[name] :][:1], *unknown]
        if any(not (isinstance(value, ast.Constant) and value.value is False) for value in allowed):
            yield f"{_name_of(node.func)} with allow_pickle"


def _argument(node: ast.Call, place: int, keyword: str | None = None) -> ast.expr | None:
    """An argument of a call by its place, or by its name."""
    if len(node.args) > place:
        return node.args[place]
    return next((each.value for each in node.keywords if keyword and each.arg == keyword), None)


def _text(node: ast.AST | None) -> set[str]:
    """The text that an expression is, if it is written out."""
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def _name_of(node: ast.expr) -> str:
    """What is called, by its last name."""
    return getattr(node, "attr", getattr(node, "id", "a call"))
