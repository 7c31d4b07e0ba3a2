"""Which public names and options Prefect has: what the migration table must have an answer to.

Run it in an environment of its own where Prefect is installed, once with the newest 3 and once with
the newest 2; each run replaces its own part of the file:

    python -m venv names && names/bin/pip install prefect prefect-dask prefect-ray
    names/bin/python tests/probes/prefect_names.py tests/unit/cli/prefect_names.json

A name is written as people import it (`prefect.states.Completed`), a method or field with its
class (`prefect.Flow.submit`), an option in brackets (`prefect.flow(retries=)`), a setting as its
environment variable (`PREFECT_HOME`) and a command as it is typed (`prefect deploy`).

Last run: Prefect 3.9.1 (prefect-dask 0.3.7, prefect-ray 0.6.0) and 2.20.26.
"""

import importlib
import inspect
import json
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

MODULES = [
    "prefect",
    "prefect.artifacts",
    "prefect.assets",
    "prefect.automations",
    "prefect.blocks.core",
    "prefect.blocks.notifications",
    "prefect.blocks.system",
    "prefect.blocks.webhook",
    "prefect.cache_policies",
    "prefect.client.orchestration",
    "prefect.client.schemas",
    "prefect.client.schemas.objects",
    "prefect.concurrency.asyncio",
    "prefect.concurrency.sync",
    "prefect.context",
    "prefect.deployments",
    "prefect.deployments.flow_runs",
    "prefect.deployments.runner",
    "prefect.docker",
    "prefect.events",
    "prefect.exceptions",
    "prefect.filesystems",
    "prefect.flow_runs",
    "prefect.flows",
    "prefect.futures",
    "prefect.input",
    "prefect.locking.filesystem",
    "prefect.locking.memory",
    "prefect.logging",
    "prefect.logging.loggers",
    "prefect.results",
    "prefect.runner",
    "prefect.runner.storage",
    "prefect.runtime",
    "prefect.runtime.deployment",
    "prefect.runtime.flow_run",
    "prefect.runtime.task_run",
    "prefect.schedules",
    "prefect.serializers",
    "prefect.settings",
    "prefect.states",
    "prefect.task_runners",
    "prefect.task_worker",
    "prefect.tasks",
    "prefect.testing.utilities",
    "prefect.transactions",
    "prefect.types.entrypoint",
    "prefect.utilities.annotations",
    "prefect.variables",
    "prefect.workers",
    "prefect_dask",
    "prefect_dask.task_runners",
    "prefect_dask.utils",
    "prefect_ray",
    "prefect_ray.context",
    "prefect_ray.task_runners",
]

OF_TWO = [
    "prefect.deployments",
    "prefect.deployments.deployments",
    "prefect.infrastructure",
    "prefect.filesystems",
    "prefect.task_runners",
]

CLASSES = [
    "prefect.Flow",
    "prefect.Task",
    "prefect.State",
    "prefect.Transaction",
    "prefect.futures.PrefectFuture",
    "prefect.futures.PrefectFutureList",
]

CALLED = [
    "prefect.flow",
    "prefect.task",
    "prefect.Task.submit",
    "prefect.Task.map",
    "prefect.State.result",
    "prefect.futures.PrefectFuture.result",
    "prefect.futures.PrefectFuture.wait",
    "prefect.futures.PrefectFutureList.result",
    "prefect.futures.PrefectFutureList.wait",
    "prefect.futures.wait",
    "prefect.futures.as_completed",
    "prefect.get_run_logger",
    "prefect.tasks.exponential_backoff",
    "prefect.transactions.transaction",
    "prefect.task_runners.ThreadPoolTaskRunner",
    "prefect.task_runners.ProcessPoolTaskRunner",
    "prefect_dask.DaskTaskRunner",
    "prefect_ray.RayTaskRunner",
    "prefect.states.Completed",
    "prefect.states.Scheduled",
    "prefect.Flow.serve",
    "prefect.Flow.deploy",
    "prefect.Flow.to_deployment",
    "prefect.Flow.from_source",
    "prefect.serve",
    "prefect.deploy",
]

CALLED_OF_TWO = ["prefect.deployments.Deployment.build_from_flow"]
CLASSES_OF_TWO = ["prefect.deployments.Deployment"]
COMMANDS_OF_TWO = ("prefect deployment", "prefect agent", "prefect project", "prefect block")


def looked_up(name: str) -> Any:
    """Return what a dotted name stands for."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise LookupError(name)


def of_module(name: str) -> Iterator[str]:
    """Yield a module, what it lists in `__all__`, and the public names that it defines itself."""
    module = importlib.import_module(name)
    yield name
    listed = getattr(module, "__all__", ())
    for key in listed:
        yield f"{name}.{key}"
    for key, value in vars(module).items():
        own = getattr(value, "__module__", name) == name or name in ("prefect_dask", "prefect_ray")
        internal = isinstance(value, (types.ModuleType, TypeVar, ParamSpec))
        if not key.startswith("_") and key != "TYPE_CHECKING" and own and not internal:
            yield f"{name}.{key}"


def members(name: str) -> Iterator[str]:
    """Yield a class's public methods and properties that it doesn't have from a base of others."""
    for base in looked_up(name).__mro__:
        if base.__module__.startswith("prefect") and "pydantic" not in base.__module__:
            fields = getattr(base, "__annotations__", {})
            keys = {*vars(base), *fields}
            yield from (f"{name}.{key}" for key in keys if not key.startswith(("_", "model_")))


def options(name: str) -> Iterator[str]:
    """Yield the parameters of a function or class that people give by name."""
    given = looked_up(name)
    called: Callable[..., Any] = given.__init__ if inspect.isclass(given) else given
    if type(given).__name__ == "FlowDecorator":
        called = type(given).__call__
    for key, parameter in inspect.signature(called).parameters.items():
        bound = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if not key.startswith("_") and key not in ("self", "cls") and not bound:
            yield f"{name}({key}=)"


def settings(model: Any, seen: set[Any]) -> Iterator[str]:
    """Yield the environment variables of a settings model and those inside it."""
    seen.add(model)
    prefix = model.model_config.get("env_prefix", "")
    for key, field in model.model_fields.items():
        inner = field.annotation
        if inspect.isclass(inner) and hasattr(inner, "model_fields"):
            if inner not in seen:
                yield from settings(inner, seen)
            continue
        alias = field.validation_alias
        choices = getattr(alias, "choices", [alias] if isinstance(alias, str) else [])
        yield f"{prefix}{key}".upper()
        yield from (text.upper() for text in choices if isinstance(text, str) and "_" in text)


def commands_of_three() -> Iterator[str]:
    """Yield the commands of the command line, as they are typed."""
    # The package registers its commands when it is imported, each to be loaded on first use.
    yield from _cyclopts("prefect", importlib.import_module("prefect.cli._app")._app)


def _cyclopts(path: str, app: Any) -> Iterator[str]:
    seen: list[Any] = []
    for key in app:
        inner = app[key]
        # A command's second name, such as `flow-runs`, leads to the same object.
        if not key.startswith("-") and all(inner is not other for other in seen):
            seen.append(inner)
            yield f"{path} {key}"
            yield from _cyclopts(f"{path} {key}", inner)


def commands_of_two() -> Iterator[str]:
    """Yield the commands of the command line of Prefect 2, as they are typed."""
    get_command = importlib.import_module("typer.main").get_command
    app = importlib.import_module("prefect.cli.root").app

    def walk(path: str, command: Any) -> Iterator[str]:
        inside = getattr(command, "commands", {})
        for key, inner in inside.items():
            if key.removesuffix("s") not in inside or key == key.removesuffix("s"):
                yield f"{path} {key}"
                yield from walk(f"{path} {key}", inner)

    everything = walk("prefect", get_command(app))
    yield from (name for name in everything if name.startswith(COMMANDS_OF_TWO))


def of_three() -> set[str]:
    """Return all names of Prefect 3."""
    model = importlib.import_module("prefect.settings.models.root").Settings
    names = {name for module in MODULES for name in of_module(module)}
    names |= {name for kind in CLASSES for name in members(kind)}
    names |= {name for called in CALLED for name in options(called)}
    names |= {name for name in settings(model, set()) if name.startswith("PREFECT_")}
    return names | set(commands_of_three())


def of_two() -> set[str]:
    """Return the names of Prefect 2 that have to do with deployments, and its task runners."""
    names = {name for module in OF_TWO for name in of_module(module)}
    names |= {f"prefect.infrastructure.{key}" for key in dir(looked_up("prefect.infrastructure"))}
    names |= {name for kind in CLASSES_OF_TWO for name in members(kind)}
    names |= {name for called in CALLED_OF_TWO for name in options(called)}
    names |= {*commands_of_two(), "prefect.deployments.Deployment"}
    return {name for name in names if "._" not in name}


def _versions() -> dict[str, str]:
    found = {}
    for package in ("prefect", "prefect-dask", "prefect-ray"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Replace the part of the file that belongs to the installed version."""
    warnings.simplefilter("ignore")
    file = Path(sys.argv[1])
    parts = json.loads(file.read_text()) if file.exists() else {}
    major = version("prefect").partition(".")[0]
    names = of_two() if major == "2" else of_three()
    parts[major] = {"versions": _versions(), "names": sorted(names)}
    file.write_text(json.dumps(dict(sorted(parts.items())), indent=1) + "\n")
    print(f"{len(names)} names of {parts[major]['versions']}")


if __name__ == "__main__":
    main()
