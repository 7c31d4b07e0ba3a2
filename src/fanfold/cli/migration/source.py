"""Edits of Python source that leave every other byte as it is."""

import ast
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NEWLINE = re.compile(rb"\r\n|\r|\n")
_AFTER_ALIAS = re.compile(rb"[ \t]*(,)?[ \t]*(#[^\r\n]*)?")
_MODULE = re.compile(rb"from(?:\s|\\)+([^\s\\]+)(?:\s|\\)+import\b")
_BLANK = b" \t\f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Some bytes of the source, and what stands there afterwards."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One name of a `from` import, and where it comes from afterwards."""

    alias: ast.alias
    module: str
    text: str
    """As it stands in the new statement, such as `TaskFuture as PrefectFuture`."""


class NotEditable(Exception):
    """The statement is laid out in a way that isn't worth editing."""


class Source:
    """A program's text as bytes of UTF-8, which are what `ast` counts columns in."""

    def __init__(self, text: str) -> None:
        self.data = text.encode()
        self._starts = [0, *(match.end() for match in _NEWLINE.finditer(self.data))]

    def span(self, node: ast.expr | ast.stmt | ast.alias) -> tuple[int, int]:
        """Return where a node starts and ends, in bytes."""
        last, column = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[last - 1] + column

    def text(self, start: int, end: int) -> str:
        """Return the text between two positions."""
        return self.data[start:end].decode()

    def line_start(self, position: int) -> int:
        """Return where the line of a position starts."""
        return self._starts[bisect_right(self._starts, position) - 1]

    def line_end(self, position: int) -> int:
        """Return where the line of a position ends, before its line break."""
        found = _NEWLINE.search(self.data, position)
        return found.start() if found else len(self.data)

    def newline(self) -> str:
        """Return the line break that the text uses."""
        found = _NEWLINE.search(self.data)
        return found.group().decode() if found else "\n"

    def statements_after(self, node: ast.stmt, lines: Iterable[str]) -> list[Edit]:
        """Return the edit that puts statements behind one, in its block.

        They get lines of their own, or follow a semicolon where the statement shares its line.
        """
        lines = list(lines)
        if not lines:
            return []
        start, end = self.span(node)
        before = self.data[self.line_start(start) : start]
        line_end = self.line_end(end)
        after = self.data[end:line_end].strip(_BLANK)
        if before.strip(_BLANK) or (after and not after.startswith(b"#")):
            plain = [line.partition("  #")[0] for line in lines]
            return [Edit(start=end, end=end, text="".join(f"; {line}" for line in plain))]
        added = "".join(f"{self.newline()}{before.decode()}{line}" for line in lines)
        return [Edit(start=line_end, end=line_end, text=added)]

    def from_import(self, node: ast.ImportFrom, names: Sequence[Moved]) -> list[Edit]:
        """Return the edits that make a `from` import take each of its names from where it is now.

        The names of the first one's module stay in the statement, with their comments; others get
        statements of their own behind it.

        Raises:
            NotEditable: The module's name isn't written in one piece.
        """
        start, end = self.span(node)
        head = _MODULE.match(self.data, start, end)
        if head is None or head.group(1).decode() != node.module:
            raise NotEditable
        main = names[0].module
        edits = [Edit(start=head.start(1), end=head.end(1), text=main)]
        edits = [] if main == node.module else edits
        kept = [name for name in names if name.module == main]
        gone = [name for name in names if name.module != main]
        if gone and not self._many_lines(names):
            first, last = self.span(names[0].alias)[0], self.span(names[-1].alias)[1]
            text = ", ".join(name.text for name in kept)
            return [*edits, Edit(start=first, end=last, text=text), *self._behind(node, gone, {})]
        edits += [edit for name in kept for edit in self._renamed(name)]
        comments: dict[ast.alias, str] = {}
        removals = [self._removed(name.alias, comments) for name in gone]
        return [*edits, *_united(removals), *self._behind(node, gone, comments)]

    def _many_lines(self, names: Sequence[Moved]) -> bool:
        first, last = names[0].alias, names[-1].alias
        return (
            first.lineno != last.lineno
            and b"\\" not in self.data[self.span(first)[0] : self.span(last)[1]]
        )

    def _renamed(self, name: Moved) -> list[Edit]:
        start, end = self.span(name.alias)
        if self.text(start, end) == name.text:
            return []
        plain = start + len(name.alias.name.encode())
        new, _, asname = name.text.partition(" as ")
        if name.alias.asname is not None and asname:
            return [Edit(start=start, end=plain, text=new)] if new != name.alias.name else []
        return [Edit(start=start, end=end, text=name.text)]

    def _removed(self, alias: ast.alias, comments: dict[ast.alias, str]) -> Edit:
        """Return the edit that takes a name out of brackets that go over several lines.

        A comment behind a name that has its line to itself goes along with the name.
        """
        start, end = self.span(alias)
        line = self.line_start(start)
        follows = _AFTER_ALIAS.match(self.data, end)
        assert follows is not None
        line_end = self.line_end(follows.end())
        if not self.data[line:start].strip(_BLANK) and follows.end() == line_end:
            comments[alias] = (follows.group(2) or b"").decode()
            broken = _NEWLINE.match(self.data, line_end)
            return Edit(start=line, end=broken.end() if broken else line_end, text="")
        comma = follows.end(1) if follows.group(1) else end
        rest = self.data[comma:line_end]
        if rest.strip(_BLANK) and not rest.lstrip(_BLANK).startswith(b"#"):
            return Edit(start=start, end=comma + len(rest) - len(rest.lstrip(_BLANK)), text="")
        blank = self.data[line:start]
        return Edit(start=start - len(blank) + len(blank.rstrip(_BLANK)), end=comma, text="")

    def _behind(
        self, node: ast.ImportFrom, gone: Sequence[Moved], comments: dict[ast.alias, str]
    ) -> list[Edit]:
        modules = dict.fromkeys(name.module for name in gone)
        lines: list[str] = []
        for module in modules:
            names = [name for name in gone if name.module == module]
            said = [comments[name.alias] for name in names if comments.get(name.alias)]
            line = f"from {module} import {', '.join(name.text for name in names)}"
            lines.append("  ".join([line, *said]))
        return self.statements_after(node, lines)


def applied(data: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the bytes with all edits made; those at one place in the order given."""
    parts: list[bytes] = []
    done = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        parts += [data[done : edit.start], edit.text.encode()]
        done = edit.end
    return b"".join([*parts, data[done:]])


def _united(removals: Sequence[Edit]) -> list[Edit]:
    """Return removals that overlap as one."""
    united: list[Edit] = []
    for edit in sorted(removals, key=lambda edit: edit.start):
        if united and edit.start < united[-1].end:
            end = max(edit.end, united[-1].end)
            united[-1] = Edit(start=united[-1].start, end=end, text="")
        else:
            united.append(edit)
    return united
