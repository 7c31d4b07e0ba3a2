"""What type checkers are told of calls whose arguments may be futures of what a function takes.

A function's parameters can't be declared as "this, or a future of it", one by one. So `submit` is
declared three times. First with the parameters of the function: what fits them is right. Then with
plain values alone: what consists of those and fits nothing is a mistake, and reported as a use of
something deprecated, which is how an overload can be made to report itself. Last with anything:
where there are futures, states or marks among the arguments, only the call itself can tell.

All three return the same type, for otherwise an argument of type Any would make the result Any.
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

S = TypeVar("S")

if TYPE_CHECKING:
    from typing_extensions import deprecated as deprecated

    Plain = (
        complex
        | str
        | bytes
        | date
        | time
        | timedelta
        | Path
        | Sequence["Plain"]
        | AbstractSet["Plain"]
        | Mapping[Any, "Plain"]
        | None
    )
    """Values that hold no futures, whoever looks at them."""
else:
    Plain = Any

    def deprecated(message: str) -> Callable[[S], S]:
        """Mark an overload for type checkers; nothing is to be told at run time."""
        return lambda function: function


Yields = Generator[S, Any, Any] | AsyncGenerator[S, Any] | Iterator[S] | AsyncIterator[S]
"""What a generator function returns by its annotation: its run's value is the list of items."""
