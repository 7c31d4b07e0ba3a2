"""Leases on names in a result store: of all who want one, one holds it, and a dead one's expires.

A claim is an object that its maker has created exclusively, named by an *epoch*: `PREFIX/000001`,
and so on. Who made the highest one holds the lease, for as long as it is written anew, each time
with another *beat*; written as released it is over. Then, or when others have seen no new beat for
`BEATS_MISSED` renewals, by their own clocks, the next epoch may be made. No clocks are compared,
and nothing but creating exclusively and listing what was created before is asked of the store.

Two can't hold it at once. Whoever made a claim lists them all: he holds the lease only if his is
the highest, and takes his claim back otherwise. Say that somebody made a higher one meanwhile, then
he has seen another claim of which all was over, and either that one was listed as the highest,
too, or was made later than this. The highest claim stays when it is released, so epochs only grow;
the lower ones are removed by who comes next.

A process that is stopped for longer than its lease doesn't know that it has lost it until it goes
on. What it commits then is as good as the other's, for both were made from the same key.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fanfold.ports.results import ResultStore
from fanfold.values.errors import StoreError

RENEW_S = 5.0
"""A request per lease in so many seconds; a few renewals may fail before the lease expires."""
BEATS_MISSED = 4

_RELEASED = b"released"
_EPOCH = re.compile(r"/\d{6}", re.ASCII)


@dataclass(slots=True, eq=False, kw_only=True)
class Lease:
    """A claim that holds the lease of its name."""

    store: ResultStore
    prefix: str
    name: str
    who: bytes
    """Tells its holder from all others."""
    beat: int = 0

    @property
    def first(self) -> bool:
        """Whether nobody has held it before."""
        return self.name == _name(self.prefix, 1)

    def renew(self) -> None:
        """Show that the holder is alive.

        Raises:
            StoreError: It can't be written.
        """
        self.beat += 1
        self.store.write(self.name, [_held(self.who, self.beat)])

    def release(self) -> None:
        """Let others have it at once; it must not be renewed any more.

        Raises:
            StoreError: It can't be written; it expires.
        """
        self.store.write(self.name, [_RELEASED + b" " + self.who])


@dataclass(slots=True, eq=False, kw_only=True)
class Claimant:
    """Tries to get one lease, time after time, and remembers what it has seen of the holder.

    Args:
        store: Where claims are made.
        prefix: What is claimed, without a slash at the end.
        who: Tells it from all others; no two claimants may have the same.
        renew_s: How often holders renew.
        clock: Seconds that pass for this process.
    """

    store: ResultStore
    prefix: str
    who: bytes
    renew_s: float = RENEW_S
    clock: Callable[[], float] = time.monotonic
    _seen: tuple[str, bytes] | None = field(default=None, init=False)
    _still_s: float = field(default=0.0, init=False)
    """For how long the holder showed nothing new."""
    _looked: float = field(default=0.0, init=False)

    def attempt(self) -> Lease | None:
        """Return the lease; None while another one holds it, or was faster.

        Raises:
            StoreError: The store fails, or can't create exclusively.
        """
        began = self.clock()
        before = self._claims()
        if before and not self._over(before[-1]):
            return None
        epoch = int(before[-1].rpartition("/")[2]) + 1 if before else 1
        name = _name(self.prefix, epoch)
        if not self._made(name):
            return None
        there = self._claims()
        # Unless somebody swept the folder meanwhile, what was the highest is there still.
        if there[-1:] != [name] or before[-1:] not in ([], there[-2:-1]):
            self.store.remove([name])
            return None
        if there[:-1]:
            self.store.remove(there[:-1])
        lease = Lease(store=self.store, prefix=self.prefix, name=name, who=self.who)
        if self.clock() - began > (BEATS_MISSED - 1) * self.renew_s:
            lease.release()  # it took so long that others may take the holder for dead already
            return None
        return lease

    def _claims(self) -> list[str]:
        """Return all claims, sorted; where others may write, not everything there is one."""
        names = self.store.names(f"{self.prefix}/")
        return [name for name in names if _EPOCH.fullmatch(name, len(self.prefix))]

    def _made(self, name: str) -> bool:
        payload = _held(self.who, 0)
        # A False may mean that an own try has won of which the acknowledgement was lost.
        return self.store.create(name, payload) or self._content(name) == payload

    def _over(self, name: str) -> bool:
        """Return whether the highest claim is released or has expired."""
        content, now = self._content(name), self.clock()
        if content.startswith(_RELEASED):
            return True
        if self._seen != (name, content):
            self._seen, self._still_s = (name, content), 0.0
        else:
            # One look stands for one renewal at most: this process may have been stopped as well.
            self._still_s += min(now - self._looked, self.renew_s)
        self._looked = now
        return self._still_s >= BEATS_MISSED * self.renew_s

    def _content(self, name: str) -> bytes:
        """Return a claim's content, nothing if it was removed meanwhile."""
        try:
            return bytes(self.store.read(name))
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return b""
            raise


def _name(prefix: str, epoch: int) -> str:
    return f"{prefix}/{epoch:06d}"


def _held(who: bytes, beat: int) -> bytes:
    return b"%b %d" % (who, beat)
