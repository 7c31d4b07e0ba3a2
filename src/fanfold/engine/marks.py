"""What stands in arguments for something else: marks that say how to take it, and futures."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from fanfold.values.cards import WithCard

if TYPE_CHECKING:
    from fanfold.engine.sources import From

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class BaseAnnotation(Generic[T]):
    """A mark around a value. Marks may stand inside each other, in any order.

    Two are equal where their kinds and their values are.
    """

    value: T

    def unwrap(self) -> T:
        """Return the value."""
        return self.value

    def rewrap(self, value: Any) -> Self:
        """Return the same mark around another value."""
        return type(self)(value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class unmapped(BaseAnnotation[T]):
    """Marks an argument of a map as the same for all calls, though it could be mapped over.

    On a cluster it reaches each worker process at most once.
    """

    __slots__ = ()


class allow_failure(BaseAnnotation[T]):
    """Lets a call go on though what it is given has failed.

    The value is a future, a map's future, a state, or a list, dict or other container with some of
    them inside. Where one has no value (it failed, crashed or was cancelled), its exception stands
    in the place of the value. In `wait_for`, it only has to be over.
    """

    __slots__ = ()


class quote(BaseAnnotation[T]):
    """Passes an argument untouched: futures inside are not waited for and stay futures.

    It isn't looked into at all, which saves time with big nested data that holds no futures. In a
    map, a quoted iterable is mapped over, each of its elements untouched.
    """

    __slots__ = ()

    def unquote(self) -> T:
        """Return the value."""
        return self.value


class opaque(BaseAnnotation[T]):
    """Keeps an argument from being looked into, but waits for it if it is a future itself.

    In a map, an opaque iterable is mapped over, and each of its elements is opaque.
    """

    __slots__ = ()


class Future(WithCard):
    """Something that another run makes; may stand in arguments, however deep."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} belongs to the process that made it; take, or return, its result() instead"
        )

    def source(self) -> "From":
        """Return it as an argument of another run."""
        raise NotImplementedError
