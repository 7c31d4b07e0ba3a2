"""Faults of a small S3 as data: which requests are struck, and how; and the exact counts of all."""

import fnmatch
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Effect(StrEnum):
    """What happens to a request that is struck."""

    INTERNAL_ERROR = "internal error"
    """500, and nothing is done."""
    SLOW_DOWN = "slow down"
    """503, and nothing is done."""
    CONFLICT = "conflict"
    """409 ConditionalRequestConflict, and nothing is done: S3's answer to some races."""
    DENY = "deny"
    """403 AccessDenied, and nothing is done."""
    DELAY = "delay"
    """It is done and answered, after `seconds`."""
    RESET = "reset"
    """The connection is reset, and nothing is done."""
    TRUNCATE = "truncate"
    """Half of the answer's body is sent, and the connection closed."""
    LOSE = "lose"
    """It is done, and the connection reset instead of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which requests for one bucket are struck; the first rule that strikes is the one."""

    effect: Effect
    operations: tuple[str, ...] = ()
    """S3's names of them, such as PutObject; all if empty."""
    key: str = "*"
    """A pattern as the shell has them; a listing's key is its prefix, `DeleteObjects` has none."""
    nth: tuple[int, ...] = ()
    """Which of the requests that match, counted from 1; all if empty."""
    share: float = 1.0
    """How many of them, by a generator that begins with `seed`."""
    seed: int = 0
    lasts_s: float | None = None
    """Since the rule was set: an outage of everything is RESET for so long."""
    seconds: float = 0.0
    """Of a DELAY."""

    def matches(self, operation: str, key: str) -> bool:
        if self.operations and operation not in self.operations:
            return False
        return self.key == "*" or fnmatch.fnmatchcase(key, self.key)


class _Standing:
    """A rule at work in one bucket."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.struck = 0
        self._since = time.monotonic()
        self._matched = 0
        self._chance = random.Random(rule.seed)

    def strikes(self, operation: str, key: str) -> bool:
        rule = self.rule
        if not rule.matches(operation, key):
            return False
        if rule.lasts_s is not None and time.monotonic() - self._since >= rule.lasts_s:
            return False
        self._matched += 1
        strikes = not rule.nth or self._matched in rule.nth
        if rule.share < 1.0:
            strikes = self._chance.random() < rule.share and strikes
        self.struck += strikes
        return strikes


class Book:
    """Counts requests of each bucket, and says which are struck; for all threads of a server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[tuple[str, str]]] = {}
        self._standing: dict[str, list[_Standing]] = {}

    def enter(self, bucket: str, operation: str, key: str) -> Rule | None:
        """Count a request; return the rule that strikes it."""
        with self._lock:
            self._counts.setdefault(bucket, Counter())[operation, key] += 1
            for standing in self._standing.get(bucket, ()):
                if standing.strikes(operation, key):
                    return standing.rule
        return None

    def rule(self, bucket: str, rules: Iterable[Rule]) -> None:
        """Replace the rules of a bucket."""
        with self._lock:
            self._standing[bucket] = [_Standing(rule) for rule in rules]

    def struck(self, bucket: str) -> list[int]:
        """Return how often each rule of a bucket has struck."""
        with self._lock:
            return [standing.struck for standing in self._standing.get(bucket, ())]

    def counts(self, bucket: str) -> Sequence[tuple[str, str, int]]:
        """Return operation, key and count of the requests for a bucket."""
        with self._lock:
            found = self._counts.get(bucket, Counter())
            return [(operation, key, count) for (operation, key), count in found.items()]

    def forget(self, bucket: str, *, rules: bool = True) -> None:
        """Forget the counts of a bucket, and its rules too."""
        with self._lock:
            self._counts.pop(bucket, None)
            if rules:
                self._standing.pop(bucket, None)
