"""Batches survive being written as text, whatever is in them."""

import dataclasses
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.recording import codec
from fanfold.values import facts
from fanfold.values.facts import Batch, Fact

# Also what no UTF-8 can say: half of a pair of surrogates, as file names in Python may hold.
TEXTS = st.text(st.characters(codec=None, exclude_categories=[]), max_size=20)


def built(kind: Any) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{one.name: st.from_type(hint(kind, one.name)) for one in fields(kind)})


def fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def hint(kind: Any, name: str) -> Any:
    return codec.get_type_hints(kind)[name]


st.register_type_strategy(str, TEXTS)
ALL = st.one_of([built(kind) for kind in get_args(facts.Fact)])
BATCHES = st.builds(
    Batch,
    writer=TEXTS,
    number=st.integers(1),
    facts=st.lists(ALL, max_size=4).map(tuple),
    epochs=st.dictionaries(TEXTS, st.integers(1)),
)


@given(BATCHES)
def test_what_is_read_is_what_was_written(batch: Batch) -> None:
    text = codec.write(batch)

    assert text.isascii() and "\n" not in text
    assert without_nan(codec.read(text)) == without_nan(batch)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"writer":"w","number":1,"epochs":{},"facts":[{"fact":"Later"}]}']
)
def test_what_is_no_batch_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        codec.read(text)


def test_fields_at_their_defaults_are_not_written() -> None:
    dropped = facts.LinesDropped(flow_run_id="a", count=1)
    named = facts.FlowRunNamed(flow_run_id="a", name="n")

    text = codec.write(Batch(writer="w", number=1, facts=(dropped, named)))

    assert "arguments" not in text and "parameters" not in text


def without_nan(batch: Batch) -> Batch:
    """Return a batch in which what isn't equal to itself is something that is."""
    return dataclasses.replace(batch, facts=tuple(_without_nan(fact) for fact in batch.facts))


def _without_nan(fact: Fact) -> Fact:
    odd = {one.name: -1.0 for one in fields(fact) if _is_nan(getattr(fact, one.name))}
    return dataclasses.replace(fact, **odd)  # type: ignore[arg-type]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
