"""Pickles what a chunk takes along: not too much of it, and none that can't travel."""

import pickle
from dataclasses import dataclass, replace
from inspect import Parameter, signature

from fanfold.engine import chunking, wire
from fanfold.engine.chunking import Batch
from fanfold.engine.failures import capture
from fanfold.engine.inputs import Inputs
from fanfold.engine.sources import Given, Sources
from fanfold.engine.spec import TaskSpec
from fanfold.ports.results import SEALED
from fanfold.ports.runner import Ref, Session
from fanfold.values.errors import InputsUnreadable, NotPicklable, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The inputs of a chunk, pickled."""

    inputs: bytes
    batch: Batch
    """The elements that travel; may be empty."""
    needs: list[Ref]
    rest: Batch | None = None
    """Elements that would have made the chunk too big."""
    stuck: tuple[tuple[int, NotPicklable], ...] = ()
    """Elements that can't travel, and why."""

    @property
    def bytes_each(self) -> float:
        """Size of the inputs per element."""
        return len(self.inputs) / max(len(self.batch), 1)


def pack_spec(spec: TaskSpec, session: Session) -> wire.Buffers:
    """Return what all chunks of a run have in common.

    Args:
        spec: The task and its calls.
        session: What it will travel by.

    Raises:
        NotPicklable: Names the argument that can't travel, or the task.
        UsageError: Credentials would travel where others can read them.
    """
    store = spec.cache.store if spec.cache is not None else None
    ships = store is not None and store.ship_credentials
    if ships and not session.sealed:
        raise UsageError(
            f"The credentials for {store} can't be sent to workers, for others could "
            "read them on the network: neither loopback nor TLS is known to be all that lies "
            "between. Reach the cluster by TLS, or leave out ship_credentials and give the workers "
            "credentials of their own."
        )
    token = SEALED.set(ships)
    try:
        return _packed(spec)
    finally:
        SEALED.reset(token)


def _packed(spec: TaskSpec) -> wire.Buffers:
    try:
        return wire.dump_shared(f"The task {spec.info.name}, or what it uses,", spec)
    except NotPicklable as error:
        refused = error
    # Not while that is handled, which would show the same error as its context once more.
    for where, value in spec.layout.static():
        named = _parameter(spec, where)
        wire.dump_function(f"The argument {named!r} of {spec.info.name}", value)
    raise refused


def _parameter(spec: TaskSpec, where: int | str) -> int | str:
    """Return the name of the parameter that takes an argument; its place where `*args` does."""
    if isinstance(where, str):
        return where
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    named = [p.name for p in signature(spec.fn).parameters.values() if p.kind in kinds]
    return named[where - 1] if where <= len(named) else where


def pack_inputs(
    name: str, sources: Sources, batch: Batch, inputs: Inputs, needs: list[Ref]
) -> Packed:
    """Return the inputs of as many elements of a batch as may travel in one chunk.

    Args:
        name: The task's, for errors.
        sources: Where the inputs come from, if others have to be made.
        batch: The elements.
        inputs: Of all of them.
        needs: The refs that `inputs` refers to.
    """
    stuck: list[tuple[int, NotPicklable]] = []
    try:
        packed = wire.dump_function(f"Arguments of {name}", inputs)
    except NotPicklable:
        batch, stuck = _without_stuck(name, sources, batch)
        inputs, needs = sources.inputs(batch, travels=True)
        packed = wire.dump_function(f"Arguments of {name}", inputs)
    rest = None
    if len(packed) > chunking.INPUT_BYTES and len(batch) > 1:
        batch, rest = batch.split(max(1, chunking.INPUT_BYTES * len(batch) // len(packed)))
        inputs, needs = sources.inputs(batch, travels=True)
        packed = wire.dump_function(f"Arguments of {name}", inputs)
    return Packed(inputs=packed, batch=batch, needs=needs, rest=rest, stuck=tuple(stuck))


def _without_stuck(
    name: str, sources: Sources, batch: Batch
) -> tuple[Batch, list[tuple[int, NotPicklable]]]:
    """Look for the elements whose inputs can't be pickled, one by one."""
    given = [source for source in sources.columns if isinstance(source, Given)]
    fine: list[Batch] = []
    stuck: list[tuple[int, NotPicklable]] = []
    for index in batch.indices():
        _, errors = wire.dump_list([source.items[index] for source in given])
        for error in list(errors.values())[:1]:
            stuck.append((index, wire.not_picklable(f"An argument of {name}[{index}]", error)))
        if not errors:
            fine.append(Batch(spans=((index, index + 1),)))
    return replace(chunking.merge(fine), suspect=batch.suspect), stuck


def unpack_inputs(inputs: Inputs | bytes, *, alone: bool) -> Inputs:
    """Return what the elements are called with.

    Args:
        inputs: Live ones are returned as they are.
        alone: Whether they are of one element.

    Raises:
        InputsUnreadable: One of several can't be unpickled; nobody knows which.
        Exception: The only one can't be.
    """
    if isinstance(inputs, Inputs):
        return inputs
    try:
        return pickle.loads(inputs)
    except Exception as error:
        if alone:
            raise
        failure = capture(error, travels=False)
        raise InputsUnreadable(failure.kind, failure.message) from error
