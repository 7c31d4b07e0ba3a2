"""What the runs of a task are made from: its options, and what is around the call."""

import logging
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from fanfold import runtime
from fanfold.caching import DEFAULT, NO_CACHE, KeyFacts, by_key_function, ignored, key_maker
from fanfold.engine import keys, registry, settings
from fanfold.engine.binding import Bound
from fanfold.engine.calls import Call
from fanfold.engine.chunking import Limits
from fanfold.engine.context import (
    TASK_RUN,
    ResultOptions,
    RunInfo,
    current,
    current_tags,
    parent_id,
)
from fanfold.engine.debugging import replaying
from fanfold.engine.flow import FlowRun, recorded_under
from fanfold.engine.here import HERE
from fanfold.engine.keys.policies import IsolationLevel, checked_isolation
from fanfold.engine.patience import Patience
from fanfold.engine.results import fencing
from fanfold.engine.results.call_keys import CallKey, alike
from fanfold.engine.results.committing import write_index
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.object_names import filled_in, folder_start
from fanfold.engine.results.parts import Part
from fanfold.engine.results.shelf import shelf
from fanfold.engine.results.signing_keys import keyring_of, on_worker
from fanfold.engine.results.transaction import joined
from fanfold.engine.spec import CacheSpec, Hooks, TaskSpec, taken_apart
from fanfold.engine.telling import level
from fanfold.options import delays_in_seconds, warn_of_one_object, warn_user
from fanfold.ports.results import ResultStore
from fanfold.ports.runner import Session, TaskRunner
from fanfold.ports.wants import wanted
from fanfold.values.errors import ResourcesUnavailable, UsageError
from fanfold.values.ids import new_id
from fanfold.values.resources import PLAIN, Resources

if TYPE_CHECKING:
    from fanfold.tasks import Task

_logger = logging.getLogger("fanfold.results")


def call_of(
    task: "Task[..., Any]",
    bound: Bound,
    session: Any,
    *,
    single: bool,
    first: int = 0,
    stream: str = "",
) -> Call:
    """Return what a run of a task is made from.

    Args:
        task: The task.
        bound: The arguments of the call or the map.
        session: Where it will run.
        single: Whether it is one call.
        first: Index of its first element among those of a streamed map.
        stream: Id of the streamed map that it is a part of, if it is.
    """
    here = session is HERE or not session.traits.remote
    info = _info(task, single, first, not here)
    hooks = task.hooks
    retries = task.retries
    told = task.retry_condition_fn is not None or any(hooks.values())
    part = _part(task)
    want = PLAIN if session is HERE else wanted(task.resources)
    cache, keyring = _kept(task, info, partial(_call_key, info, bound, stream))
    if cache is not None and bound.count > 1:
        warn_of_one_object(task.name, task.options.get("result_storage_key"), task.fn, bound.layout)
    spec = TaskSpec(
        fn=task.fn,
        layout=bound.layout,
        info=info,
        retries=retries,
        delays_s=_delays(task, retries) if retries else (),
        jitter=task.retry_jitter_factor,
        condition=task.retry_condition_fn,
        timeout_s=task.timeout_seconds,
        is_async=task.is_async,
        yields=task.yields,
        cache=cache,
        hooks=Hooks(
            running=hooks["on_running"],
            completion=hooks["on_completion"],
            failure=hooks["on_failure"],
        )
        if told
        else None,
        run_name=task.task_run_name,
        task=task if told else None,
        around=None if session is HERE or not here else copy_context(),
        part=part if here else None,
    )
    call = Call(
        spec=spec,
        sources=bound.sources,
        count=bound.count,
        limits=_limits(task, want),
        infrastructure_retries=task.infrastructure_retries,
        want=want,
        patience=Patience() if session is HERE else _patience(task),
        stream=stream,
        part=part,
        keyring=keyring,
    )
    replay = replaying()
    return call if replay is None else replay.instead(call)


def _limits(task: "Task[..., Any]", want: Resources) -> Limits:
    """Return how its maps are cut; what a GPU does takes long, so elements go one by one there."""
    limits = task.limits
    return replace(limits, chunk_size=limits.chunk_size or 1) if want.gpu else limits


def _patience(task: "Task[..., Any]") -> Patience:
    held = settings.current()
    return Patience(
        worker_s=held.cluster_timeout_seconds,
        word_s=held.cluster_silence_seconds,
        speculative=task.speculative,
    )


def _delays(task: "Task[..., Any]", retries: int) -> tuple[float, ...]:
    held, delays = settings.current(), task.options.get("retry_delay_seconds")
    if delays is None:
        delays = held.tasks_default_retry_delay_seconds
    return delays_in_seconds(delays, retries) if held.retry_delays else ()


def _part(task: "Task[..., Any]") -> Part | None:
    """Return what a run does in the transaction around, and at its commit."""
    transaction, on_commit = joined(), task.hooks["on_commit"]
    if transaction is None and not on_commit:
        return None
    return Part(transaction, on_commit, task.hooks["on_rollback"], write_index)


def _info(task: "Task[..., Any]", single: bool, first: int, travels: bool) -> RunInfo:
    around = current()
    parent = around.info if around is not None else None
    held = settings.current()
    log_prints = task.log_prints
    if log_prints is None:
        log_prints = parent.log_prints if parent is not None else held.logging_log_prints
    inherited = parent.tags if parent is not None else frozenset[str]()
    flow = parent.flow if parent is not None and parent.kind == TASK_RUN else parent
    results = parent.results if parent is not None else ResultOptions()
    return RunInfo(
        kind=TASK_RUN,
        id=new_id(),
        name=task.name,
        of=task.name,
        version=task.version,
        tags=task.tags | inherited | current_tags(),
        log_prints=log_prints,
        flow=flow,
        results=_results(task).over(results),
        parent_id=parent_id(),
        single=single,
        first=first,
        log_level=level() if travels else 0,
        loggers=held.logging_extra_loggers if travels else (),
        recorded_under=recorded_under(_default_runner),
    )


def _default_runner() -> TaskRunner:
    return registry.runner(None)


def _results(task: "Task[..., Any]") -> ResultOptions:
    """Return what the task says itself of its results; asking for more of them keeps them."""
    options = task.options
    persist = options.get("persist_result")
    storage = options.get("result_storage")
    serializer = options.get("result_serializer")
    if persist is None:
        persist = settings.current().tasks_default_persist_result
    cached = task.cache_policy is not None and task.cache_policy != NO_CACHE
    asked = (task.cache_key_fn, options.get("result_storage_key"), storage, serializer)
    if persist is None and (cached or any(one is not None for one in asked)):
        persist = True
    return ResultOptions(persist=persist, storage=storage, serializer=serializer)


def afforded(task: "Task[..., Any]", session: Session) -> Session:
    """Return a session that can give what the task asks for, now or when its cluster grows.

    Raises:
        ResourcesUnavailable: It never can.
    """
    want = wanted(task.resources)
    if want.plain or replaying() is not None:
        return session
    missing = ""
    if beyond := want.beyond(session.traits.honours):
        missing = f"its runner can't hold {', '.join(beyond)} for anybody"
    elif (slots := session.slots()).now and not slots.grows:
        missing = session.lacking(want)
    if missing:
        raise ResourcesUnavailable(
            f"The task {task.name} asks for {want}, but {missing}. Use another task_runner, or "
            "with_options(resources=None)."
        )
    return session


def kept_runs(task: "Task[..., Any]", around: ResultOptions) -> frozenset[str]:
    """Return the ids of the task's runs of which results are kept.

    Args:
        task: The task.
        around: How its flow keeps results.

    Raises:
        StoreError: The store can't be asked.
    """
    results, held = _results(task).over(around), settings.current()
    persist = held.results_persist_by_default if results.persist is None else results.persist
    if not persist:
        return frozenset()
    store = registry.result_store_of(results.storage)
    return shelf(store, _folder(task), keyring_of(store)).runs()


def _kept(
    task: "Task[..., Any]", info: RunInfo, call_key: Callable[[str], CallKey]
) -> tuple[CacheSpec | None, Keyring | None]:
    """Return how the task's results are kept, and what signs them."""
    persist, held = info.results.persist, settings.current()
    if persist is None:
        persist = held.results_persist_by_default
        if not persist and task.cache_expiration is not None:
            warn_user(
                f"The task {task.name} has a cache_expiration, and nothing keeps its results. Give "
                "it a cache_policy or a cache_key_fn, or persist_result=True."
            )
    if not persist or held.tasks_disable_caching:
        return None, None
    store = registry.result_store_of(info.results.storage)
    try:
        keyring = keyring_of(store)
    except UsageError as error:
        if not on_worker():
            raise
        _tell_uncached(task.name, str(store), str(error))
        return None, None
    return _cache(task, info, call_key, store, keyring), keyring


@lru_cache
def _tell_uncached(name: str, store: str, reason: str) -> None:
    """Say it once in this process: an element may call the task a thousand times."""
    _logger.warning("%s runs uncached in %s: %s", name, store, reason)


def _cache(
    task: "Task[..., Any]",
    info: RunInfo,
    call_key: Callable[[str], CallKey],
    store: ResultStore,
    keyring: Keyring | None,
) -> CacheSpec:
    held, replays = settings.current(), info.replays
    fencing.begin(store, _folder(task), info)
    expiration = task.cache_expiration
    refresh = task.options.get("refresh_cache")
    template = task.options.get("result_storage_key")
    by_name = template is not None and task.cache_policy is None and task.cache_key_fn is None
    key = None if by_name else _key(task, info)
    refreshes = held.tasks_refresh_cache if refresh is None else refresh
    reads = not refreshes and (key is not None or by_name)
    if task.name in replays.anew:
        reads = False
    elif replays.whole and not by_name:
        reads = True
    return CacheSpec(
        key=key or call_key(_folder(task)),
        store=store,
        folder=_folder(task),
        lookup=shelf(store, _folder(task), keyring).look_up(single=info.single)
        if reads
        else Lookup(store=store),
        expires_in_s=expiration.total_seconds() if expiration is not None else float("inf"),
        in_memory=task.options.get("cache_result_in_memory") is not False,
        ignored=ignored(key, task.fn),
        serial=(key is not None or by_name) and _serial(task),
        reads=reads,
        since=replays.since if refreshes else "",
        serializer=info.results.serializer or held.results_default_serializer,
        accepted=held.results_accepted_codecs,
        name=partial(_object_name, template) if template is not None else None,
        by_name=by_name,
        deferred=joined() is not None,
        guarded=keyring is not None,
    )


def _serial(task: "Task[..., Any]") -> bool:
    """Return whether calls with equal keys run one after another: as the nearest says that does."""
    policy, transaction = task.cache_policy, joined()
    level = checked_isolation(task.options.get("isolation"))
    if level is None and policy is not None:
        level = checked_isolation(policy.isolation_level)
    if level is None and transaction is not None:
        level = transaction.isolation_level
    return level is IsolationLevel.SERIALIZABLE


def _key(task: "Task[..., Any]", info: RunInfo) -> Callable[..., bytes | None] | None:
    """Return what makes the keys of calls; None if calls share no results."""
    flow = info.flow
    facts = KeyFacts(
        task_name=task.name,
        task_key=task.task_key,
        fn=task.fn,
        run_id=info.id,
        flow_run_id=info.key_run_id,
        flow_parameters=flow.parameters if flow is not None else None,
        task=task,
        told=info.recorded,
    )
    if task.cache_key_fn is not None:
        return by_key_function(task.cache_key_fn, facts)
    return key_maker(DEFAULT if task.cache_policy is None else task.cache_policy, facts)


def _folder(task: "Task[..., Any]") -> str:
    """The task's folder in the store: readable, and different for tasks of equal names."""
    function, _, _ = taken_apart(task.fn)
    module = task.task_key.removesuffix(f".{function.__qualname__}:{task.name}")
    return _folder_of(module, function.__qualname__, task.name)


@lru_cache(maxsize=256)  # each call of a kept task asks, and its digest takes 30 µs
def _folder_of(module: str, qualified: str, name: str) -> str:
    return f"{folder_start(name)}-{keys.digest((module, qualified, name)).hex()[:12]}"


def _call_key(info: RunInfo, bound: Bound, stream: str, folder: str) -> CallKey:
    """Return what makes the keys of a call or a map that shares no results with others."""
    around = current()
    owner = around.owner if around is not None else None
    if not isinstance(owner, FlowRun) or not info.key_run_id:
        # Outside of flows nothing is resumed, and what an element calls runs again with it.
        return CallKey(run=info.id, folder=folder, nth=0)
    call = ("call", folder, alike(info.single, bound.layout, bound.sources.columns))
    (*_, like), nth = owner.nth_of(call, stream)
    return CallKey(run=info.key_run_id, folder=folder, like=like, nth=nth, first=info.first)


def _object_name(template: str, spec: TaskSpec, arguments: dict[str, Any]) -> str:
    """Return the name of the object that holds a call's result."""
    variables = {
        "parameters": arguments,
        "flow_run": runtime.flow_run,
        "task_run": runtime.task_run,
    }
    return filled_in(template, spec.info.of, variables)
