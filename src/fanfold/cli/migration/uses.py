"""What a program takes from Prefect: its imports, and where it uses what they bring."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_ROOT = re.compile(r"prefect(_[a-z0-9_]+)?$")
_NAMED = re.compile(r"prefect(_dask|_ray)?(\.\w+)+|PREFECT_[A-Z0-9_]+")
_MAKERS = {
    "prefect.flow": "prefect.Flow",
    "prefect.flows.flow": "prefect.Flow",
    "prefect.task": "prefect.Task",
    "prefect.tasks.task": "prefect.Task",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A use of an imported name, with the attributes that follow: `prefect.runtime.flow_run.id`."""

    name: ast.Name
    attributes: tuple[ast.Attribute, ...]
    """From the inside out."""
    target: str
    """What the name stands for, such as `prefect.runtime`."""

    @property
    def dotted(self) -> str:
        """The whole in Prefect's words."""
        return ".".join([self.target, *(attribute.attr for attribute in self.attributes)])


@dataclass(slots=True)
class Uses:
    """All that was found in one program."""

    imports: list[ast.Import] = field(default_factory=list[ast.Import])
    froms: list[ast.ImportFrom] = field(default_factory=list[ast.ImportFrom])
    whole: set[str] = field(default_factory=set[str])
    """Names that an `import` brings, rather than a `from` import."""
    targets: dict[str, str] = field(default_factory=dict[str, str])
    """For each name that an import brings, what it stands for."""
    rebound: set[str] = field(default_factory=set[str])
    """Those of them that are bound in other ways too, so what they stand for is open."""
    chains: list[Chain] = field(default_factory=list[Chain])
    calls: list[ast.Call] = field(default_factory=list[ast.Call])
    strings: list[ast.Constant] = field(default_factory=list[ast.Constant])
    """Those that are the name of something in Prefect."""
    kinds: dict[str, str] = field(default_factory=dict[str, str])
    """For each name that holds a flow or task, its class."""
    outermost: set[ast.stmt] = field(default_factory=set[ast.stmt])
    """Of each scope and name the first `import`."""

    def stands_for(self, node: ast.expr) -> str | None:
        """Return what an expression is in Prefect's words, if it is something of Prefect's."""
        if isinstance(node, ast.Name):
            return self.targets.get(node.id)
        if isinstance(node, ast.Attribute):
            inner = self.stands_for(node.value)
            return f"{inner}.{node.attr}" if inner else None
        return None

    def kind(self, node: ast.expr) -> str | None:
        """Return the class of an expression that makes or names a flow or task."""
        if isinstance(node, ast.Name) and node.id in self.kinds:
            return self.kinds[node.id]
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr == "with_options":
                return self.kind(called.value)
            # What a flow returns is no flow; what `flow` returns is.
            made = isinstance(called, ast.Name) and called.id in self.kinds
            return None if made else self.kind(called)
        return _MAKERS.get(self.stands_for(node) or "")


def ours(module: str | None) -> bool:
    """Return whether a module is Prefect's, or one of its integrations."""
    return module is not None and _ROOT.match(module.partition(".")[0]) is not None


def uses(tree: ast.Module) -> Uses:
    """Return what a program takes from Prefect."""
    found = Uses()
    others: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            _import(node, found, others)
        elif isinstance(node, ast.ImportFrom):
            _from(node, found, others)
        elif isinstance(node, ast.Call):
            found.calls.append(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _NAMED.fullmatch(node.value):
                found.strings.append(node)
        else:
            others.update(_bound(node))
    found.rebound |= found.targets.keys() & others
    found.chains = list(_chains(tree, found))
    _kinds(tree, found)
    _outermost(tree, frozenset(), found)
    return found


def _bind(local: str, target: str, found: Uses) -> None:
    if found.targets.setdefault(local, target) != target:
        found.rebound.add(local)


def _import(node: ast.Import, found: Uses, others: set[str]) -> None:
    for alias in node.names:
        root = alias.name.partition(".")[0]
        if ours(alias.name):
            local = alias.asname or root
            found.whole.add(local)
            _bind(local, alias.name if alias.asname else root, found)
        else:
            others.add(alias.asname or root)
    if any(ours(alias.name) for alias in node.names):
        found.imports.append(node)


def _from(node: ast.ImportFrom, found: Uses, others: set[str]) -> None:
    if node.level or not ours(node.module):
        others.update(alias.asname or alias.name for alias in node.names)
        return
    found.froms.append(node)
    for alias in node.names:
        if alias.name != "*":
            _bind(alias.asname or alias.name, f"{node.module}.{alias.name}", found)


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node binds, imports aside."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        yield node.name or ""
    elif isinstance(node, ast.MatchMapping):
        yield node.rest or ""


def _chains(tree: ast.Module, found: Uses) -> Iterator[Chain]:
    inside: set[ast.AST] = set()
    known = found.targets.keys() - found.rebound
    for node in ast.walk(tree):  # from the outside in, so that the whole chain comes first
        if node in inside or not isinstance(node, (ast.Name, ast.Attribute)):
            continue
        attributes: list[ast.Attribute] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            attributes.append(base)
            base = base.value
        inside.update([*attributes, base])
        if isinstance(base, ast.Name) and base.id in known:
            target = found.targets[base.id]
            yield Chain(name=base, attributes=tuple(reversed(attributes)), target=target)


def _kinds(tree: ast.Module, found: Uses) -> None:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            made = next(filter(None, map(found.kind, node.decorator_list)), None)
            if made is not None:
                found.kinds[node.name] = made
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made = found.kind(node.value)
            for target in node.targets:
                if made is not None and isinstance(target, ast.Name):
                    found.kinds[target.id] = made


def _outermost(node: ast.AST, seen: frozenset[str], found: Uses) -> frozenset[str]:
    """Note each scope's first import of a name; return the names that are known behind a node."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import) and child in found.imports:
            names = {a.asname or a.name.partition(".")[0] for a in child.names if ours(a.name)}
            if names - seen:
                found.outermost.add(child)
            seen |= names
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            _outermost(child, frozenset(), found)
        else:
            seen = _outermost(child, seen, found)
    return seen
