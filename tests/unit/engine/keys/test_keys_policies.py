"""Keys by policy: what they are made from, how policies add up, and what travels."""

import dataclasses
import pickle
import threading
from functools import partial
from typing import Any

import cloudpickle
import pytest

from fanfold import caching, task
from fanfold.caching import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    NONE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
    IsolationLevel,
    KeyFacts,
    key_maker,
)
from fanfold.engine.context import FLOW_RUN, TASK_RUN, RunInfo
from fanfold.engine.spec import Layout, TaskSpec
from fanfold.values.errors import KeyNotStable, UsageError


def double(x: int, debug: bool = False) -> int:
    return x * 2


def triple(x: int, debug: bool = False) -> int:
    return x * 3


FACTS = KeyFacts(
    task_name="double",
    task_key="here.double",
    fn=double,
    run_id="task-1",
    flow_run_id="flow-1",
    flow_parameters={"day": 1},
)
KNOWN = [
    *(INPUTS, INPUTS - "debug", TASK_SOURCE, RUN_ID, FLOW_PARAMETERS, DEFAULT, DEFAULT - "debug"),
    *(INPUTS + TASK_SOURCE, INPUTS + RUN_ID, TASK_SOURCE + RUN_ID, INPUTS + FLOW_PARAMETERS),
]


@dataclasses.dataclass
class BySalt(CachePolicy):
    """A policy as users write them."""

    salt: str = ""

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        if inputs.get("x") == 0:
            return None
        day = flow_parameters.get("day")
        return f"{self.salt} {task_ctx.task.name} {task_ctx.task_run.flow_run_id} {day}"


def by_x(context: Any, arguments: dict[str, Any]) -> str | None:
    return None if arguments["x"] == 0 else f"{context.task.name} {arguments['x'] % 10}"


def key(policy: CachePolicy, arguments: dict[str, Any] | None = None, **facts: Any) -> bytes | None:
    """Return the key of a call, made by what arrived on another machine."""
    made = key_maker(policy, dataclasses.replace(FACTS, **facts))
    if made is None:
        return None
    known = dataclasses.replace(FACTS, **facts)
    flow = RunInfo(kind=FLOW_RUN, id=known.flow_run_id, name="") if known.flow_run_id else None
    info = RunInfo(kind=TASK_RUN, id=known.run_id, name="double-1", of="double", flow=flow)
    spec = TaskSpec(fn=known.fn, layout=Layout(), info=info)
    arrived = pickle.loads(cloudpickle.dumps(made))
    return arrived(spec, {"x": 1, "debug": False} | (arguments or {}))


CHANGES: dict[str, dict[str, Any]] = {
    "x": {"arguments": {"x": 2}},
    "debug": {"arguments": {"debug": True}},
    "source": {"fn": triple},
    "flow": {"flow_run_id": "flow-2"},
    "parameters": {"flow_parameters": {"day": 2}},
    "task": {"task_key": "here.triple"},
}


@pytest.mark.parametrize(
    ("policy", "counts"),
    [
        (INPUTS, {"x", "debug"}),
        (INPUTS - "debug", {"x"}),
        (INPUTS - "debug" - "x", set()),
        (INPUTS - "unknown", {"x", "debug"}),
        (TASK_SOURCE, {"source"}),
        (RUN_ID, {"flow"}),
        (FLOW_PARAMETERS, {"parameters"}),
        (DEFAULT, {"x", "debug", "source", "flow"}),
        (DEFAULT - "debug", {"x", "source", "flow"}),
        (RUN_ID - "debug", {"flow"}),
        (DEFAULT + FLOW_PARAMETERS, {"x", "debug", "source", "flow", "parameters"}),
        (INPUTS + (TASK_SOURCE + INPUTS) - "debug", {"x", "source"}),
    ],
    ids=lambda value: None if isinstance(value, set) else repr(value),
)
def test_a_key_is_made_of_what_its_policy_says(policy: CachePolicy, counts: set[str]) -> None:
    changed = {name for name, change in CHANGES.items() if key(policy, **change) != key(policy)}

    assert changed == counts | {"task"}
    assert len(key(policy) or b"") == 16


def test_keys_of_different_policies_differ() -> None:
    policies = [
        *KNOWN,
        BySalt(),
        BySalt("a"),
        BySalt() + INPUTS,
        CacheKeyFnPolicy(cache_key_fn=by_x),
    ]

    assert len({key(policy) for policy in policies}) == len(policies)
    outside = {key(policy, flow_parameters=None) for policy in KNOWN if policy != FLOW_PARAMETERS}
    assert len(outside) == len(KNOWN) - 1


def test_the_order_in_which_policies_are_added_does_not_count() -> None:
    parts = [INPUTS - "debug", TASK_SOURCE, RUN_ID, BySalt("s")]
    one, other = parts[0], parts[-1]
    for part, opposite in zip(parts[1:], parts[-2::-1], strict=True):
        one, other = one + part, other + opposite

    assert one == other and hash(one) == hash(other)
    assert key(one) == key(other)
    assert TASK_SOURCE + TASK_SOURCE == TASK_SOURCE
    assert (INPUTS - "a") + (INPUTS - "b") == INPUTS - "b" - "a"


def test_no_cache_adds_nothing_and_makes_no_key() -> None:
    for policy in (*KNOWN, BySalt("s")):
        assert NO_CACHE + policy == policy == policy + NO_CACHE
    assert NO_CACHE == NONE == NO_CACHE + NONE
    assert key_maker(NO_CACHE, FACTS) is None
    assert key(FLOW_PARAMETERS, flow_parameters=None) is None


def test_outside_of_flows_the_task_run_stands_for_the_flow_run() -> None:
    assert key(RUN_ID, flow_run_id="") != key(RUN_ID, flow_run_id="", run_id="task-2")
    assert key(RUN_ID) == key(RUN_ID, run_id="task-2")


def test_users_policies_are_asked_where_the_element_runs() -> None:
    alone, both = BySalt("s"), BySalt("s") + TASK_SOURCE

    assert key(alone) == key(alone, {"x": 2}) != key(alone, flow_parameters={"day": 2})
    assert key(alone) != key(alone, flow_run_id="flow-2")
    assert key(alone, {"x": 0}) is None
    assert key(both, {"x": 0}) is not None
    assert key(both) != key(both, fn=triple)
    assert key(CacheKeyFnPolicy(cache_key_fn=by_x), {"x": 11}) == key(
        CachePolicy.from_cache_key_fn(by_x)
    )
    assert key(CacheKeyFnPolicy(cache_key_fn=by_x), {"x": 0}) is None


def test_what_travels_is_small() -> None:
    made = key_maker(DEFAULT, dataclasses.replace(FACTS, flow_parameters={"day": "x" * 10_000}))

    assert len(pickle.dumps(made)) < 200


@pytest.mark.parametrize("policy", [*KNOWN, NO_CACHE, BySalt("s"), BySalt("s") + INPUTS], ids=repr)
def test_policies_pickle_and_compare(policy: CachePolicy) -> None:
    copy = pickle.loads(pickle.dumps(policy))

    assert copy == policy
    assert key(copy) == key(policy)
    assert policy.configure() == policy
    assert all(policy != other for other in KNOWN if other is not policy)


def test_policies_of_ours_do_not_change() -> None:
    for policy in (INPUTS, DEFAULT, NO_CACHE):
        with pytest.raises(dataclasses.FrozenInstanceError):
            policy.strict = True


def test_settings_are_kept_when_policies_are_added() -> None:
    level = IsolationLevel.READ_COMMITTED
    kept = (INPUTS + TASK_SOURCE).configure(isolation_level="read_committed", strict=True)

    for policy in (kept, kept - "debug", kept + RUN_ID, RUN_ID + kept):
        assert (policy.isolation_level, policy.strict) == (level, True)
    assert key(kept) == key(INPUTS + TASK_SOURCE)
    assert BySalt("s").configure(strict=True).strict


@pytest.mark.parametrize("place", ["key_storage", "lock_manager"])
def test_places_of_their_own_for_keys_and_locks_are_refused(place: str) -> None:
    told = {"key_storage": "key_storage can't be kept", "lock_manager": "No lock_manager is needed"}
    with pytest.raises(UsageError, match=told[place]):
        INPUTS.configure(**{place: "here"})


def test_isolation_is_told_by_level_or_name() -> None:
    for level in IsolationLevel:
        for policy in (INPUTS, DEFAULT, BySalt("s")):
            for said in (level, level.name, level.name.lower()):
                assert policy.configure(isolation_level=said).isolation_level is level
    with pytest.raises(UsageError, match="no isolation level 'no'"):
        caching.Inputs(isolation_level="no")


@pytest.mark.parametrize("policy", [INPUTS, DEFAULT, BySalt("s") + INPUTS], ids=repr)
def test_what_has_no_key_is_an_error_only_where_the_policy_is_strict(policy: CachePolicy) -> None:
    for asked, strict in ((policy, False), (policy.configure(strict=True), True)):
        with pytest.raises(KeyNotStable) as told:
            key(asked, {"x": [threading.Lock()]})
        assert (told.value.path, told.value.strict) == ("x[0]", strict)
    assert key(policy - "x", {"x": threading.Lock()}) is not None


def test_what_all_calls_share_and_has_no_form_is_told_at_each_call() -> None:
    lock = threading.Lock()

    def locking(x: int) -> Any:
        return lock, x

    with pytest.raises(KeyNotStable, match="closure lock"):
        key(TASK_SOURCE, fn=locking)
    with pytest.raises(KeyNotStable, match="flow parameter day"):
        key(FLOW_PARAMETERS.configure(strict=True), flow_parameters={"day": lock})
    assert key(INPUTS, fn=locking, flow_parameters={"day": lock}) == key(INPUTS)


def test_what_is_no_policy_or_no_name_is_refused() -> None:
    with pytest.raises(UsageError, match="cache_policy='INPUTS'"):
        key_maker("INPUTS", FACTS)  # type: ignore[arg-type]
    for policy in (INPUTS, RUN_ID, DEFAULT, NO_CACHE):
        with pytest.raises(TypeError, match="by its name"):
            policy - 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        INPUTS + "debug"  # type: ignore[operator]


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, x: int) -> int:
        return self.factor * x

    def same_as_times(self, x: int) -> int:
        return self.factor * x


def test_the_source_of_a_method_is_that_of_its_function() -> None:
    one = key(TASK_SOURCE, fn=Scale(1).times)

    assert one == key(TASK_SOURCE, fn=Scale(2).times) == key(TASK_SOURCE, fn=Scale(1).same_as_times)
    assert one != key(TASK_SOURCE, fn=Scale.times)
    assert one != key(TASK_SOURCE, fn=double)


def test_our_policies_compute_keys_for_those_of_users_too() -> None:
    context = caching.TaskRunContext(
        task=caching.TaskFacts(name="double", fn=double), run_id="r", flow_run_id=""
    )
    made = [policy.compute_key(context, {"x": 1, "debug": 1}, {"day": 1}) for policy in KNOWN]

    assert len({*made}) == len(KNOWN)
    assert None not in made
    assert NO_CACHE.compute_key(context, {}, {}) is None
    assert context.task_run.flow_run_id is None


async def later(context: Any, arguments: Any) -> str:
    return "later"


class Later:
    async def __call__(self, context: Any, arguments: Any) -> str:
        return "later"


def of_one(arguments: Any) -> str:
    return "one"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (later, "is async; it must be a plain function"),
        (partial(later), "is async"),
        (Later(), "is async"),
        (of_one, r"is called with \(context, parameters\).*too many positional arguments"),
        (7, "takes a function, not 7"),
    ],
)
def test_a_function_that_can_not_make_keys_is_refused(function: Any, told: str) -> None:
    with pytest.raises(TypeError, match=f"cache_key_fn of double {told}"):
        task(cache_key_fn=function)(double)
    with pytest.raises(TypeError, match=f"cache_key_fn of a cache policy {told}"):
        CachePolicy.from_cache_key_fn(function)
