"""A map whose executions are noted outside of the product, and what the notes must add up to."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from fanfold import flow, task
from fanfold.engine.chunking import BUDGET_S
from fanfold.ports.runner import TaskRunner
from fanfold.testing.ledger import Ledger

RAN = "ran"


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """How much is to be done, and how it came out."""

    count: int
    seconds: float
    """That each element takes."""
    kept: bool
    """Whether values go to a result store."""
    ledger: Ledger

    @property
    def of_a_chunk(self) -> int:
        """Elements that a worker has at most begun and not reported: a budget's worth, and one."""
        return int(BUDGET_S / self.seconds) + 1

    def run(self, runner: TaskRunner, **options: Any) -> tuple[list[str], list[Any]]:
        """Return the states and values of all elements."""
        ledger, seconds = self.ledger, self.seconds

        @task(persist_result=self.kept, **options)
        def works(x: int) -> int:
            ledger.note(RAN, x, os.getpid())
            time.sleep(seconds)
            return x * x

        @flow(task_runner=runner)
        def chaos() -> tuple[list[str], list[Any]]:
            futures = works.map(range(self.count))
            values = futures.result()
            return [future.state.name for future in futures], values

        return chaos()

    def check(self, found: tuple[list[str], list[Any]], strikes: int) -> str:
        """See that nothing was lost, wrong or told as failed; return how much was repeated.

        Args:
            found: What `run` has returned.
            strikes: How many workers were struck.
        """
        states, values = found
        assert values == [x * x for x in range(self.count)]
        assert Counter(states) == {"Completed": self.count}
        ran = self.ledger.counts(RAN)
        assert len(ran) == self.count
        total = sum(ran.values())
        if self.kept:
            assert total <= self.count + strikes * self.of_a_chunk
        where = "with a result store" if self.kept else "without a result store"
        repeated = total - self.count
        most = f", at most {strikes * self.of_a_chunk} may be" if self.kept else ""
        return (
            f"{strikes} strikes, {self.count:,} elements, {where}: {repeated} executions "
            f"({repeated / self.count:.1%}) were repeats{most}; one element ran "
            f"{max(ran.values())} times"
        )
