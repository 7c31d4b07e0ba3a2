"""The settings: what each is called and takes, and what holds now.

The table is the class `Settings`. A value is taken from the first of these that has one:

1. `temporary(...)`, in its own context
2. an environment variable: `FANFOLD_TASKS_DEFAULT_RETRIES` for `tasks.default_retries`
3. the nearest `fanfold.toml`, from the working directory upwards
4. `[tool.fanfold]` in the nearest `pyproject.toml` that has such a table
5. the active profile in `<home>/profiles.toml`: the one that `FANFOLD_PROFILE` names, else its
   `active`
6. the default

Variables and the working directory are looked at on every read, which takes 1 µs; an empty variable
counts as not set. Files are read once per process and working directory, until `reload()`. A path
starts from the folder of the file that names it, or from the working directory.

Whatever is wrong in a file stops every read with an error that names the file, for nothing should
run under settings that were understood in part. A `FANFOLD_` variable that isn't known is logged
once: it may belong to somebody else.

Reading is safe from any thread. Threads don't inherit `temporary` values, as they don't inherit
any context.
"""

from pathlib import Path

from fanfold.engine.results.codec_names import ACCEPTED
from fanfold.engine.settings.kinds import (
    CODECS,
    COLORS,
    COUNT,
    DAYS,
    DAYS_BY_STATE,
    DELAYS,
    FLAG,
    FOLDER,
    HISTORY,
    KEYS,
    LEVEL,
    OPTIONS,
    PATTERNS,
    PLACE,
    PROGRESS,
    SECONDS,
    SERIALIZER,
    WORD,
    WORDS,
    WORKERS,
    Colors,
    Level,
    Progress,
    or_none,
)
from fanfold.engine.settings.lookup import HOME as HOME
from fanfold.engine.settings.lookup import TABLE as TABLE
from fanfold.engine.settings.lookup import Setting
from fanfold.engine.settings.lookup import found as found
from fanfold.engine.settings.lookup import named as named
from fanfold.engine.settings.lookup import reload as reload
from fanfold.engine.settings.lookup import temporary as temporary

DEFAULT_RUNNER = "threads"


class Settings:
    """What holds now; ask `current()` for it. Each attribute is looked up when it is read."""

    __slots__ = ()

    home = Setting(
        name="home",
        kind=FOLDER,
        default=Path("~/.fanfold"),
        description="Folder below which everything is kept.",
    )
    default_runner = Setting(
        name="default_runner",
        kind=WORD,
        default=DEFAULT_RUNNER,
        description="Task runner of flows that name none: threads, processes, dask, ray, ...",
    )
    progress: Setting[Progress] = Setting(
        name="progress",
        kind=PROGRESS,
        default="auto",
        description="Progress of maps: auto shows it on a terminal, plain as lines of text.",
    )
    retry_delays = Setting(
        name="retry_delays",
        kind=FLAG,
        default=True,
        description="Whether retries wait for their delays; false is for tests.",
    )
    tasks_default_retries = Setting(
        name="tasks.default_retries",
        kind=COUNT,
        default=0,
        description="Retries of tasks that say nothing themselves.",
    )
    tasks_default_retry_delay_seconds: Setting[float | tuple[float, ...]] = Setting(
        name="tasks.default_retry_delay_seconds",
        kind=DELAYS,
        default=0.0,
        description="Seconds before a task's retry, or one number for each retry.",
    )
    tasks_default_persist_result: Setting[bool | None] = Setting(
        name="tasks.default_persist_result",
        kind=or_none(FLAG),
        default=None,
        description="Whether tasks' results are kept; none is as results.persist_by_default.",
    )
    tasks_refresh_cache = Setting(
        name="tasks.refresh_cache",
        kind=FLAG,
        default=False,
        description="Whether tasks run and write their cache anew rather than read it.",
    )
    tasks_disable_caching = Setting(
        name="tasks.disable_caching",
        kind=FLAG,
        default=False,
        description="Whether no task reads or writes a cache, whatever its policy.",
    )
    flows_default_retries = Setting(
        name="flows.default_retries",
        kind=COUNT,
        default=0,
        description="Retries of flows that say nothing themselves.",
    )
    flows_default_retry_delay_seconds = Setting(
        name="flows.default_retry_delay_seconds",
        kind=SECONDS,
        default=0.0,
        description="Seconds before a flow's retry.",
    )
    results_persist_by_default = Setting(
        name="results.persist_by_default",
        kind=FLAG,
        default=False,
        description="Whether results of flows and tasks are kept unless they say otherwise.",
    )
    results_default_storage = Setting(
        name="results.default_storage",
        kind=PLACE,
        default="",
        derive=lambda home: str(home / "results"),
        description="Folder or URL that results are kept in; by default <home>/results.",
    )
    results_storage_options = Setting(
        name="results.storage_options",
        kind=OPTIONS,
        default="",
        description="Options of storages at URLs, such as endpoint_url=http://...,secret=env:KEY.",
    )
    results_default_serializer = Setting(
        name="results.default_serializer",
        kind=SERIALIZER,
        default="auto",
        description="How results are written: auto (by type), pickle, json, compressed/pickle, ...",
    )
    results_signing_keys: Setting[tuple[str, ...]] = Setting(
        name="results.signing_keys",
        kind=KEYS,
        default=(),
        description="Keys that sign results on shared storage, such as main=env:RESULTS_KEY.",
    )
    results_accepted_codecs: Setting[tuple[str, ...]] = Setting(
        name="results.accepted_codecs",
        kind=CODECS,
        default=ACCEPTED,
        description="What kept results are read by; without pickle none of them is unpickled.",
    )
    history_url = Setting(
        name="history.url",
        kind=HISTORY,
        default="",
        derive=lambda home: f"sqlite:///{home / 'history.db'}",
        description="Where runs are recorded, or off; by default <home>/history.db.",
    )
    history_keep_days = Setting(
        name="history.keep_days",
        kind=DAYS,
        default=90.0,
        description="Days after which runs that are over are removed; 0 keeps them for ever.",
    )
    history_keep_days_by_state: Setting[tuple[str, ...]] = Setting(
        name="history.keep_days_by_state",
        kind=DAYS_BY_STATE,
        default=(),
        description="The same for single states, such as completed=30,failed=365.",
    )
    history_lines_per_run = Setting(
        name="history.lines_per_run",
        kind=COUNT,
        default=100_000,
        description="Log lines that are recorded of a flow run; the rest is only counted.",
    )
    logging_masked: Setting[tuple[str, ...]] = Setting(
        name="logging.masked",
        kind=PATTERNS,
        default=(),
        description="Regular expressions; what they match in a line of a log is masked.",
    )
    runner_thread_pool_max_workers: Setting[int | None] = Setting(
        name="runner.thread_pool_max_workers",
        kind=WORKERS,
        default=None,
        description="Threads of the threads runner; none lets it choose.",
    )
    runner_process_pool_max_workers: Setting[int | None] = Setting(
        name="runner.process_pool_max_workers",
        kind=WORKERS,
        default=None,
        description="Processes of the processes runner; none is one for each core.",
    )
    cluster_timeout_seconds = Setting(
        name="cluster.timeout_seconds",
        kind=SECONDS,
        default=120.0,
        description="Seconds that a task waits for a worker that could run it, then it crashes.",
    )
    cluster_silence_seconds = Setting(
        name="cluster.silence_seconds",
        kind=SECONDS,
        default=60.0,
        description="Seconds without a word after which a worker is looked after.",
    )
    logging_level: Setting[Level] = Setting(
        name="logging.level",
        kind=LEVEL,
        default="INFO",
        description="The least level of runs' log lines that are shown.",
    )
    logging_log_prints = Setting(
        name="logging.log_prints",
        kind=FLAG,
        default=False,
        description="Whether a print inside a run is a line of its log.",
    )
    logging_extra_loggers: Setting[tuple[str, ...]] = Setting(
        name="logging.extra_loggers",
        kind=WORDS,
        default=(),
        description="Loggers whose records inside a run count as the run's.",
    )
    logging_colors: Setting[Colors] = Setting(
        name="logging.colors",
        kind=COLORS,
        default="auto",
        description="Whether output is in colour; auto where it goes to a terminal.",
    )


_CURRENT = Settings()


def current() -> Settings:
    """Return what holds now; it stays up to date, so it may be kept."""
    return _CURRENT


def home() -> Path:
    """Return the folder below which everything is kept; `FANFOLD_HOME`, or `~/.fanfold`.

    Raises:
        UsageError: What a variable or a file says isn't understood.
    """
    return _CURRENT.home
