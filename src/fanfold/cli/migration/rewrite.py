"""The decisions: what of a program's Prefect is taken from Fanfold instead, and what can't be."""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fanfold.cli.migration.source import Edit, Moved, NotEditable, Source, applied
from fanfold.cli.migration.uses import Chain, Uses, ours, uses
from fanfold.cli.prefect import Row, Table, table

LOOK = "look"
"""Fate of what only a person can decide."""

_OF_DEPLOYMENTS = frozenset(
    {"cron", "image", "interval", "job_variables", "rrule", "schedule", "schedules"}
    | {"entrypoint", "work_pool_name", "work_queue_name"}
)
_DEPLOYING = frozenset({"serve", "deploy", "adeploy", "to_deployment", "ato_deployment"})
_REBOUND = "It is bound in other ways too, so nothing was changed here; look where it is Prefect's."
_WHOLE = "Prefect itself is used here as an object; it is still imported."
_STRING = "A string names it; nothing was changed here."
_STAR = "It isn't said which names are meant; import them by name."
_READ_ONCE = "Import the object that has it: an attribute that is imported is read once, too early."
_LAYOUT = "The statement is laid out in an unusual way; change it by hand."


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that needs a look."""

    line: int
    column: int
    """From 1 on, in characters."""
    name: str
    """What it is about, in Prefect's words."""
    fate: str
    """`later` or `refused` as in the table; `look` where only a person can decide."""
    says: str

    @property
    def order(self) -> tuple[int, int, str]:
        """Where it comes among others."""
        return self.line, self.column, self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A program as it is afterwards."""

    edits: tuple[Edit, ...]
    """In bytes of the program's UTF-8."""
    text: str
    notes: tuple[Note, ...]


def rewrite(text: str) -> Rewritten:
    """Return a program with what it takes from Prefect taken from Fanfold, as far as that goes.

    Raises:
        SyntaxError: The text is no program.
        ValueError: It can't be one, for it holds a null character.
    """
    tree = ast.parse(text)
    rewriter = _Rewriter(Source(text), uses(tree), table())
    rewriter.run()
    edits = tuple(sorted(rewriter.edits, key=lambda edit: (edit.start, edit.end)))
    after = applied(rewriter.source.data, edits).decode()
    ast.parse(after)
    notes = tuple(sorted(set(rewriter.notes), key=lambda note: note.order))
    return Rewritten(edits=edits, text=after, notes=notes)


class _Rewriter:
    def __init__(self, source: Source, found: Uses, rows: Table) -> None:
        self.source = source
        self.found = found
        self.rows = rows
        self.edits: list[Edit] = []
        self.notes: list[Note] = []
        self.staying: set[str] = set()
        """Names that an `import` brings and that are still needed as they are."""
        self.needed: dict[str, dict[str, None]] = {}
        """For each such name the modules of ours that its uses need."""

    def run(self) -> None:
        """Make all edits and notes."""
        for node in self.found.froms:
            self._from(node)
        whole = [chain for chain in self.found.chains if chain.name.id in self.found.whole]
        self._decide(whole)
        for chain in self.found.chains:
            if chain.name.id in self.found.whole:
                self._use(chain)
            else:
                self._use_of_part(chain)
        for node in self.found.imports:
            self._import(node)
        for call in self.found.calls:
            self._options(call)
            self._method(call)
        for string in self.found.strings:
            self._string(string)

    def _note(self, node: ast.expr | ast.stmt | ast.alias, name: str, row: Row | str) -> None:
        fate, says = (LOOK, row) if isinstance(row, str) else (row.fate.value, row.says)
        start = self.source.span(node)[0]
        column = len(self.source.text(self.source.line_start(start), start)) + 1
        note = Note(line=node.lineno, column=column, name=name, fate=fate, says=says)
        self.notes.append(note)

    # Imports of names: the names keep what they are called, so only the statement changes.

    def _from(self, node: ast.ImportFrom) -> None:
        if node.names[0].name == "*":
            return self._note(node, f"{node.module}.*", _STAR)
        names = [self._moved(node, alias) for alias in node.names]
        if all(name.module == node.module for name in names):
            return None
        try:
            self.edits += self.source.from_import(node, names)
        except NotEditable:
            self._note(node, node.module or "", _LAYOUT)
        return None

    def _moved(self, node: ast.ImportFrom, alias: ast.alias) -> Moved:
        full = f"{node.module}.{alias.name}"
        kept = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
        stays = Moved(alias=alias, module=node.module or "", text=kept)
        row = self._row(full)
        if not row.fate.works:
            self._note(alias, full, row)
            return stays
        module, _, name = row.place.rpartition(".")
        if not self._is_module(module):
            self._note(alias, full, _READ_ONCE)
            return stays
        local = alias.asname or alias.name
        text = name if local == name and not alias.asname else f"{name} as {local}"
        return Moved(alias=alias, module=module, text=text)

    def _use_of_part(self, chain: Chain) -> None:
        """Follow a module or class that a `from` import brought to the attribute that is used."""
        base, row = self._row(chain.target), self._row_of(chain)
        if row is base or not base.fate.works:
            return
        if not row.fate.works:
            return self._note(chain.name, chain.dotted, row)
        count = row.name.count(".") - chain.target.count(".")
        old = ".".join([base.place, *(node.attr for node in chain.attributes[:count])])
        if row.place == old or count < 1:
            return
        if not row.place.startswith(f"{base.place}."):
            return self._note(chain.name, chain.dotted, f"It is {row.place} now.")
        self._replace(chain, count, chain.name.id + row.place[len(base.place) :])

    # Imports of modules: what they are called changes, and so does every use.

    def _decide(self, chains: Sequence[Chain]) -> None:
        self.staying |= self.found.rebound
        for chain in chains:
            row = self._row_of(chain)
            whole = row.name == chain.target and self._is_module(row.place)
            if not row.fate.works or whole or self._span(chain, self._count(chain)) is None:
                self.staying.add(chain.name.id)
        for node in self.found.imports:
            for alias in node.names:
                if ours(alias.name) and self._place(node, alias) is None:
                    self.staying.add(alias.asname or alias.name.partition(".")[0])

    def _place(self, node: ast.Import, alias: ast.alias) -> str | None:
        """Return what takes an imported module's place; None if nothing does."""
        row = self._row(alias.name)
        if row.name != alias.name or not row.fate.works:
            return None
        inside = not self._is_module(row.place)
        return None if inside and alias.asname and len(node.names) > 1 else row.place

    def _use(self, chain: Chain) -> None:
        row, base, count = self._row_of(chain), self._row(chain.target), self._count(chain)
        local, place = chain.name.id, row.place
        if not row.fate.works:
            return self._note(chain.name, chain.dotted, row)
        if count < 1:
            if self._is_module(place):
                self._note(chain.name, chain.dotted, _WHOLE)
            return None
        renamed = local != chain.target and local not in self.staying
        if renamed and base.fate.works and place.startswith(f"{base.place}."):
            self._replace(chain, count, local + place[len(base.place) :])
            return None
        if self._replace(chain, count, place):
            self.needed.setdefault(local, {})[self._module_of(place)] = None
        return None

    def _replace(self, chain: Chain, count: int, text: str) -> bool:
        """Replace a name and so many of its attributes; return whether that could be done."""
        span = self._span(chain, count)
        if span is None:
            self._note(chain.name, chain.dotted, _LAYOUT)
        elif self.source.text(*span) != text:
            self.edits.append(Edit(start=span[0], end=span[1], text=text))
        return span is not None

    def _span(self, chain: Chain, count: int) -> tuple[int, int] | None:
        """Return where a name with so many of its attributes stands, if it does so in one piece.

        Before Python 3.12 the parser was wrong about places inside of f-strings.
        """
        attributes = chain.attributes[: max(count, 0)]
        start, end = self.source.span(chain.name)
        end = self.source.span(attributes[-1])[1] if attributes else end
        written = ".".join([chain.name.id, *(node.attr for node in attributes)])
        return (start, end) if self.source.data[start:end] == written.encode() else None

    def _count(self, chain: Chain) -> int:
        """Return how many of a chain's attributes its row speaks of."""
        return self._row_of(chain).name.count(".") - chain.target.count(".")

    def _import(self, node: ast.Import) -> None:
        given: dict[str, None] = {}
        wanted: dict[str, None] = {}
        for alias in node.names:
            if not ours(alias.name):
                continue
            local = alias.asname or alias.name.partition(".")[0]
            if node in self.found.outermost:
                wanted |= self.needed.get(local, {})
            if local in self.staying:
                self._say_why(node, alias, local)
                continue
            given |= self._renamed(node, alias)
        extra = [module for module in wanted if not any(_brings(has, module) for has in given)]
        self.edits += self.source.statements_after(node, [f"import {name}" for name in extra])

    def _renamed(self, node: ast.Import, alias: ast.alias) -> dict[str, None]:
        """Change one imported module, and return which of ours the statement brings by its name."""
        place = self._place(node, alias) or ""
        start, end = self.source.span(alias)
        if self._is_module(place):
            text = f"{place} as {alias.asname}" if alias.asname else place
        elif alias.asname:
            start, end = self.source.span(node)
            module, _, name = place.rpartition(".")
            text = f"from {module} import {name} as {alias.asname}"
        else:
            text = self._module_of(place)
        self.edits.append(Edit(start=start, end=end, text=text))
        return {} if alias.asname else {text: None}

    def _say_why(self, node: ast.Import, alias: ast.alias, local: str) -> None:
        row = self._row(alias.name)
        if local in self.found.rebound:
            self._note(alias, alias.name, _REBOUND)
        elif not row.fate.works:
            self._note(alias, alias.name, row)
        elif self._place(node, alias) is None:
            self._note(alias, alias.name, _LAYOUT)

    def _row(self, name: str) -> Row:
        row = self.rows.of(name)
        assert row is not None, f"no family of the table takes in {name}"
        return row

    def _row_of(self, chain: Chain) -> Row:
        return self.rows.of_chain(chain.dotted) or self._row(chain.target)

    def _is_module(self, place: str) -> bool:
        return place in self.rows.modules

    def _module_of(self, place: str) -> str:
        """Return the longest part of a place in front of its last name that is a module."""
        return next(filter(self._is_module, _fronts(place)), place.partition(".")[0])

    # What is given to functions and asked of flows and tasks.

    def _options(self, call: ast.Call) -> None:
        full = self.found.stands_for(call.func)
        if full is None or not self._row(full).fate.works:
            return
        root, last = full.partition(".")[0], full.rpartition(".")[2]
        for keyword in call.keywords:
            for name in (f"{full}({keyword.arg}=)", f"{root}.{last}({keyword.arg}=)"):
                row = self.rows.of(name)
                if row is not None and "(" in row.name:
                    if not row.fate.works:
                        self._note(keyword.value, name, row)
                    break

    def _method(self, call: ast.Call) -> None:
        if not isinstance(call.func, ast.Attribute):
            return
        kind, method = self.found.kind(call.func.value), call.func.attr
        if kind is None and method in _DEPLOYING:
            given = {keyword.arg for keyword in call.keywords}
            kind = "prefect.Flow" if given & _OF_DEPLOYMENTS else None
        if kind is None or self.found.stands_for(call.func) in self._noted():
            return
        row = self.rows.of(f"{kind}.{method}")
        if row is None or not row.name.startswith(kind):
            return
        if not row.fate.works:
            return self._note(call.func, f"{kind}.{method}", row)
        for keyword in call.keywords:
            name = f"{kind}.{method}({keyword.arg}=)"
            option = self.rows.of(name)
            if option is not None and "(" in option.name and not option.fate.works:
                self._note(keyword.value, name, option)

    def _noted(self) -> set[str]:
        return {note.name for note in self.notes}

    def _string(self, node: ast.Constant) -> None:
        name = str(node.value)
        row = self._row(name)
        if not name.startswith("PREFECT_"):
            self._note(node, name, _STRING)
        else:
            self._note(node, name, f"It is {row.place} now." if row.fate.works else row)


def _fronts(place: str) -> Iterator[str]:
    while "." in place:
        place = place.rpartition(".")[0]
        yield place


def _brings(has: str, module: str) -> bool:
    return has == module or has.startswith(f"{module}.")


def shifted(edits: Iterable[Edit], by: int) -> list[Edit]:
    """Return edits of a piece of text as edits of the whole that it starts `by` bytes into."""
    return [Edit(start=edit.start + by, end=edit.end + by, text=edit.text) for edit in edits]
