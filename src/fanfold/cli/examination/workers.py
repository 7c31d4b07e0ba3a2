"""Checks of the runner and its workers: whether they answer, and how they differ from here."""

import json
import queue
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from fanfold.cli.examination.findings import Finding, ok, problem, warning
from fanfold.cli.examination.patient import Patient
from fanfold.cli.examination.probing import CONTENT, FOLDER, leaving
from fanfold.cli.examination.visits import Told, Visit, versions
from fanfold.cli.texts import plural
from fanfold.engine.wording import span
from fanfold.ports.runner import Ref, Session
from fanfold.values.errors import InfrastructureError, StoreError, UnknownRunner
from fanfold.values.ids import new_id
from fanfold.values.messages import Report

ANSWERS_S = 45.0
"""For all workers: a cluster that starts in the cloud isn't waited for."""
LINGER_S = 0.3
"""What hides that one slot hears of its visit later than another."""
MOST_VISITS = 256
SKEW_S = 1.0
"""Clocks that differ more put lines and runs of a history into a wrong order."""
SKEW_MOST_S = 30.0
"""Clocks that differ more make leases end too early."""
RUNS = "See that the cluster runs, is reached from here, and has the same Python and Fanfold."
REACH = "See that the workers run, reach this machine, and have fanfold installed."
_GRAVE = ("python", "fanfold")
"""Driver and workers can't be expected to understand each other across versions of these."""


def look_at_runner(patient: Patient) -> Iterator[Finding]:
    """Open the runner, and run a chunk in each of its slots."""
    began = time.monotonic()
    try:
        session = patient.find_runner().open(lambda chunk, message: None)
    except UnknownRunner as error:
        yield problem(str(error), "Install it, or choose another one with --runner.")
        return
    except InfrastructureError as error:
        yield problem(f"{patient.runner_name} doesn't open: {error}", RUNS)
        return
    told = f"{patient.runner_name} opened in {span(time.monotonic() - began)}"
    patient.remote = session.traits.remote
    asked, errors = 0, list[str]()
    try:
        asked, errors = _visit(patient, session)
    except (InfrastructureError, StoreError, TimeoutError) as error:
        errors = [f"{type(error).__name__}: {error}"]
    finally:
        session.close()
    if patient.told:
        told += f"; {_workers(patient.told)} answered"
    if errors:
        yield problem(f"{told}; {errors[0]}", REACH)
    elif not patient.told:
        yield problem(f"{told}, but no worker answered within {ANSWERS_S:g} s", REACH)
    elif len(patient.told) < asked:
        missing = f"but only {len(patient.told)} of {asked} slots within {ANSWERS_S:g} s"
        yield warning(f"{told}, {missing}", "See whether the others work for somebody, or hang.")
    else:
        yield ok(told)


def look_at_versions_there(patient: Patient) -> Iterator[Finding]:
    """Name versions on the workers that differ from those here."""
    here = versions(patient.packages)
    odd: dict[tuple[str, str], list[Told]] = {}
    for told in patient.told:
        for name, version in told.versions.items():
            if version != here.get(name):
                odd.setdefault((name, version), []).append(told)
    for (name, version), tolds in odd.items():
        some = ", ".join(_named(told) for told in tolds[:3]) + (", ..." if len(tolds) > 3 else "")
        found = f"{name} is {version} on {plural(len(tolds), 'worker')} ({some}), {here[name]} here"
        make = problem if name in _GRAVE else warning
        yield make(found, f"Install {name} {here[name]} there, or theirs here.")
    if patient.told and not odd:
        yield ok("as here")


def look_at_store_there(patient: Patient) -> Iterator[Finding]:
    """See whether workers can write results where the driver looks for them."""
    failures: dict[str, list[Told]] = {}
    for told in patient.told:
        if told.store:
            failures.setdefault(told.store, []).append(told)
    for failure, tolds in failures.items():
        found = f"{_named(tolds[0])}{_others(len(tolds) - 1)}: {failure}"
        yield problem(
            found,
            "Let the workers reach the storage, with credentials of their own, or choose one that "
            "all reach: results.default_storage.",
        )
    if patient.told and not failures:
        yield ok(f"{_workers(patient.told)} wrote and read {patient.store}")


def look_at_clocks_there(patient: Patient) -> Iterator[Finding]:
    """See whether the workers' clocks go with this one."""
    if not patient.remote or not patient.told:
        return
    off = [
        (skew_s(told.asked_s, told.time_s, told.answered_s), _named(told)) for told in patient.told
    ]
    skew, worst = max(off, key=lambda each: abs(each[0]))
    yield clock_found(worst if abs(skew) > SKEW_S else _workers(patient.told), skew)


def skew_s(before_s: float, told_s: float, after_s: float) -> float:
    """Return by how much another clock is surely ahead; 0 where it may be right.

    Args:
        before_s: The time here before the other was asked.
        told_s: What it said.
        after_s: The time here after the answer.
    """
    return min(0.0, told_s - before_s) or max(0.0, told_s - after_s)


def clock_found(whose: str, skew: float) -> Finding:
    """Return what is to be said of a clock that is ahead by so many seconds."""
    way = "ahead of" if skew > 0 else "behind"
    told = f"the clock of {whose} is {span(abs(skew))} {way} this one's"
    advice = "Have both machines' clocks set by NTP."
    if abs(skew) > SKEW_MOST_S:
        return problem(told, advice)
    if abs(skew) > SKEW_S:
        return warning(told, advice)
    return ok(f"{whose}: as here, within {SKEW_S:g} s")


def _visit(patient: Patient, session: Session) -> tuple[int, list[str]]:
    """Ask each slot; return how many were asked, and what went wrong."""
    slots = session.slots()
    # Not as many as the cluster can grow to: it would start machines for our visits alone.
    count = max(1, min(MOST_VISITS, slots.now or slots.most)) if patient.remote else 1
    reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
    errors: list[str] = []
    deadline = time.monotonic() + ANSWERS_S
    with _left(patient) as left:
        asked_s = time.time()
        refs: dict[str, Ref] = {}
        for number in range(count):
            visit = Visit(
                id=f"{new_id()}-{number}",
                packages=patient.packages,
                store=patient.store,
                left=left,
                linger_s=LINGER_S if count > 1 else 0.0,
            )
            refs[visit.id] = session.submit(visit, done=reports.put)
        while refs:
            try:
                report = reports.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            answered_s = time.time()
            ref = refs.pop(report.chunk)
            if report.error is not None:
                errors.append(str(report.error))
                continue
            values = session.fetch([ref], timeout_s=max(1.0, deadline - time.monotonic()))[0]
            told = Told(**json.loads(bytes(values[0])))
            patient.told.append(replace(told, asked_s=asked_s, answered_s=answered_s))
        session.cancel(list(refs.values()))
    return count, errors


@contextmanager
def _left(patient: Patient) -> Generator[str]:
    """Leave an object in the storage for the workers to find; yield its name, "" if that fails.

    Why it fails is told by the check of the storage from here.
    """
    with ExitStack() as stack:
        name = ""
        try:
            folder = stack.enter_context(leaving(patient.store, f"{FOLDER}{new_id()}"))
            patient.store.write(f"{folder}/left", [CONTENT])
            name = f"{folder}/left"
        except StoreError:
            with suppress(StoreError):
                stack.close()
        yield name


def _workers(tolds: Sequence[Told]) -> str:
    places = {(told.host, told.process) for told in tolds}
    processes = plural(len(places), "process", "processes")
    return f"{processes} on {plural(len({host for host, _ in places}), 'host')}"


def _named(told: Told) -> str:
    return f"{told.host}/{told.process}"


def _others(count: int) -> str:
    return f" and {plural(count, 'other')}" if count else ""
