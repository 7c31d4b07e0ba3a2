"""What makes the keys of elements where they run: small, picklable, made once per map.

Whatever is the same for all elements (the task, its code, the flow's parameters) was digested at
the driver and travels as 16 bytes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fanfold.engine import keys
from fanfold.engine.spec import TaskSpec
from fanfold.values.errors import KeyNotStable

KeyMaker = Callable[[TaskSpec, dict[str, Any]], bytes | None]
"""Makes an element's key of its arguments by name: 16 bytes; None: it isn't cached.

Raises KeyNotStable, with `strict` set on it where that must fail the element.
"""


Parts = Mapping[str, str]
"""What keys are made from, by name: short texts, or digests of what may be long or secret."""


CODE = "code"
"""The part that is a digest of the task's code, which has parts of its own (`codes.code_parts`)."""


class InParts(ABC):
    """What makes keys and can tell what they are made from."""

    __slots__ = ()

    @abstractmethod
    def __call__(self, spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        """Return the key of one call, as every `KeyMaker` does."""

    @abstractmethod
    def told(self) -> Parts | None:
        """Return the parts that are the same for all calls; None where nobody asks for parts."""

    @abstractmethod
    def in_parts(self, spec: TaskSpec, arguments: dict[str, Any]) -> tuple[bytes | None, Parts]:
        """Return what calling it does, and the parts that differ from call to call.

        Raises:
            KeyNotStable: An argument has no stable form.
        """


@dataclass(frozen=True, slots=True)
class OfInputs(InParts):
    """Keys of the arguments, and of what is the same for all."""

    same: bytes
    exclude: tuple[str, ...] = ()
    strict: bool = False
    shared: Parts | None = None

    def __call__(self, spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        """Return the key of one call.

        Raises:
            KeyNotStable: An argument has no stable form.
        """
        if self.exclude:
            arguments = without(arguments, self.exclude)
        try:
            return keys.digest(arguments, "", before=self.same)
        except KeyNotStable as error:
            raise marked(error, self.strict) from None

    def told(self) -> Parts | None:
        """Return what is the same for all calls."""
        return self.shared

    def in_parts(self, spec: TaskSpec, arguments: dict[str, Any]) -> tuple[bytes | None, Parts]:
        """Return the key of one call, and digests of its arguments.

        Raises:
            KeyNotStable: An argument has no stable form.
        """
        if self.exclude:
            arguments = without(arguments, self.exclude)
        try:
            key, parts = keys.digest_in_parts(arguments, self.same)
        except KeyNotStable as error:
            raise marked(error, self.strict) from None
        return key, {f"argument {name}": part for name, part in parts.items()}


@dataclass(frozen=True, slots=True)
class Same(InParts):
    """One key for all calls."""

    key: bytes
    shared: Parts | None = None

    def __call__(self, spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        """Return it."""
        return self.key

    def told(self) -> Parts | None:
        """Return what is the same for all calls."""
        return self.shared

    def in_parts(self, spec: TaskSpec, arguments: dict[str, Any]) -> tuple[bytes | None, Parts]:
        """Return it, and nothing that differs."""
        return self.key, {}


@dataclass(frozen=True, slots=True)
class Unkeyed:
    """Stands in where what is the same for all calls has no stable form."""

    path: str
    kind: str
    strict: bool

    def __call__(self, spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        """Tell of it, at each call.

        Raises:
            KeyNotStable: Always.
        """
        raise KeyNotStable(self.path, self.kind, strict=self.strict)


def without(arguments: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return arguments without some of them."""
    return {name: value for name, value in arguments.items() if name not in names}


def marked(error: KeyNotStable, strict: bool) -> KeyNotStable:
    """Return an error that says if it must fail the element."""
    return KeyNotStable(error.path, error.kind, strict=True) if strict else error
