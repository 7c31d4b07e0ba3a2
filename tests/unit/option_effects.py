"""What tests of options' effects are made of: each runs with its option, and with it ignored."""

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from fanfold.engine import registry
from fanfold.engine.settings import temporary
from fanfold.flows import Flow
from fanfold.tasks import Task


@dataclass(frozen=True)
class Make:
    """Makes tasks and flows as users do; one option, or none, is as if nobody had given it."""

    ignored: str | None = None

    def task(self, fn: Callable[..., Any], **options: Any) -> Task[..., Any]:
        return Task(fn, **self._left("task", options))

    def flow(self, fn: Callable[..., Any], **options: Any) -> Flow[..., Any]:
        return Flow(fn, **self._left("flow", options))

    def runner(self, name: str, **options: Any) -> Any:
        return type(registry.runner(name))(**self._left(name, options))

    def settings(self, **values: Any) -> AbstractContextManager[None]:
        """Let settings hold; a dot in a name is written as two underscores."""
        named = {name.replace("__", "."): value for name, value in values.items()}
        return temporary(self._left("settings", named))

    def keywords(self, of: str, **keywords: Any) -> dict[str, Any]:
        """Return keywords for a call of something."""
        return self._left(of, keywords)

    def _left(self, of: str, options: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if f"{of}.{name}" != self.ignored}


Test = Callable[..., None]


def effect(option: str) -> Callable[[Test], Test]:
    """Mark the test that shows an option's effect; it must fail where the option is ignored.

    The test's first parameter is the `Make` that it has to use.
    """

    def marked(test: Test) -> Test:
        @functools.wraps(test)
        def run(make: Make, **fixtures: Any) -> None:
            if make.ignored is None:
                test(make, **fixtures)
                return
            # Whatever comes of it, but it isn't what the option promises.
            with pytest.raises((Exception, pytest.fail.Exception)):
                test(make, **fixtures)

        run.__dict__["option"] = option
        assert next(iter(inspect.signature(test).parameters)) == "make"
        ways = [pytest.param(Make(), id="heeded"), pytest.param(Make(option), id="ignored")]
        return pytest.mark.parametrize("make", ways)(run)

    return marked
