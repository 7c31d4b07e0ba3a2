"""A big look-up table is cut to what a short map may find in it, before it travels. Pure.

A table takes 78 bytes per kept result and goes to every worker, though ten elements can only ever
find ten rows. Keys are made where elements run, as a rule; making them here too costs some 10 us
each. That is worth it where a map is short beside the table, and the driver has all that its
elements are called with.
"""

from dataclasses import replace

from fanfold.engine.calls import Call
from fanfold.engine.keys.makers import OfInputs, Same
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.sources import Given, Sources

LEAST_ROWS = 10_000
"""A smaller table travels whole: it is less than a megabyte."""
ROWS_PER_KEY = 50
"""How many rows must stay behind for each key that is made: their pickling and sending costs 0.2 us
each on one machine, and more over a network."""


def narrowed(call: Call) -> Call:
    """Return a call whose look-up table has only rows of its elements, where that pays.

    Only where nothing but the arguments makes a key: what a user's own function says may be true
    in another process alone, and nobody expects it to be asked twice.
    """
    cache, sources = call.spec.cache, call.sources.brought()
    if cache is None or not isinstance(cache.key, (OfInputs, Same)) or cache.name is not None:
        return call
    if sources is None:
        return call
    if len(cache.lookup) < max(LEAST_ROWS, call.count * ROWS_PER_KEY):
        return call
    lookup = _cut(call, cache.lookup, sources)
    return replace(call, spec=replace(call.spec, cache=replace(cache, lookup=lookup)))


def _cut(call: Call, lookup: Lookup, sources: Sources) -> Lookup:
    spec, cache = call.spec, call.spec.cache
    assert cache is not None
    columns = [column.items for column in sources.columns if isinstance(column, Given)]
    try:
        arguments = spec.layout.binder(spec.fn)
        rows = (spec.layout.row(columns, index) for index in range(call.count))
        found = [cache.key(spec, arguments(row)) for row in rows]
    except Exception:  # such as of what stands for a value; the elements tell, if they find it so
        return lookup
    return lookup.only(key for key in found if key is not None)
