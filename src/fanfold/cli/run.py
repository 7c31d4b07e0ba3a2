"""`fanfold run`: run a flow that lies in a file or a module."""

import asyncio
import inspect
import json
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import click

from fanfold.cli.completion import files_like
from fanfold.cli.exits import Exit, complaint, of_state
from fanfold.cli.tables import json_option, show_json
from fanfold.engine import entrypoints
from fanfold.engine.context import tagged
from fanfold.engine.failures import users_frames
from fanfold.engine.settings.lookup import nearest
from fanfold.flows import Flow
from fanfold.values.errors import FanfoldError, UsageError
from fanfold.values.runs import FlowRun
from fanfold.values.states import State, StateType

_TEXTS = (str, bytes, Path)
"""Types whose values are texts as they were typed, though they may look like numbers."""


@click.command()
@click.argument("entrypoint", metavar="FILE.PY[:FLOW]", shell_complete=files_like)
@click.option(
    *("-p", "--param", "params"),
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter: JSON, or else text; NAME=@FILE reads it from a file.",
)
@click.option("--param-json", metavar="JSON", help="Parameters as a JSON object; -p wins.")
@click.option("--runner", metavar="NAME", help="What its tasks run on, such as processes.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag of the run.")
@click.option("--name", metavar="NAME", help="What the run is called.")
@json_option
def command(
    entrypoint: str,
    params: tuple[str, ...],
    param_json: str | None,
    runner: str | None,
    tags: tuple[str, ...],
    name: str | None,
    as_json: bool,
) -> None:
    """Run a flow.

    FILE.PY is a script or lies in a package; package.module:FLOW does as well. FLOW may be left
    out where there is only one. What stands below `if __name__ == "__main__"` isn't run, nor is a
    flow that the file calls itself.

    Exits with 0 when it is Completed, 1 Failed, 3 Cancelled, 4 Crashed; with 2 when it can't be
    called like that.
    """
    try:
        flow: Flow[..., Any] = entrypoints.load(entrypoint, Flow, "flow")
        flow = changed(flow, runner, name)
        given = _given(params, param_json)
        arguments = _arguments(flow, given)
    except FanfoldError as error:
        raise complaint(error) from error
    with tagged(*tags):
        finish(flow, (), arguments, as_json=as_json)


def finish(
    flow: "Flow[..., Any]", args: tuple[Any, ...], kwargs: Mapping[str, Any], *, as_json: bool
) -> None:
    """Run a flow, show why it has no value if so, and exit with what its end stands for.

    Args:
        flow: The flow.
        args: What it is called with.
        kwargs: Alike.
        as_json: Print which run it was, and how it ended, as JSON on standard output.
    """
    module = inspect.getmodule(flow.fn)
    seen: list[FlowRun] = []
    flow = _noting_its_run(flow, seen)
    try:
        with entrypoints.as_main(module) if module is not None else tagged():
            state = ended(flow, args, kwargs)
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
    if not state.is_completed() and state.type is not StateType.CANCELLED:
        click.echo(told(state.failure()), err=True)
    if as_json:
        run = seen[-1]
        ids = {"id": run.id, "flow": run.flow_name, "name": run.name}
        show_json({**ids, "state": state.name, "message": state.message})
    raise SystemExit(of_state(state.code))


def ended(flow: "Flow[..., Any]", args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> State:
    """Run a flow of any kind to its end and return its state.

    Raises:
        BaseException: What interrupted it.
    """
    called: Callable[..., Any] = flow
    if not flow.is_async:
        return called(*args, return_state=True, **kwargs)

    async def awaited() -> State:
        return await called(*args, return_state=True, **kwargs)

    return asyncio.run(awaited())


def told(error: BaseException) -> str:
    """Return an error as Python shows it, with the user's frames alone."""
    shown = error.with_traceback(users_frames(error.__traceback__))
    return "".join(traceback.format_exception(shown)).rstrip()


def _noting_its_run(flow: "Flow[..., Any]", seen: list[FlowRun]) -> "Flow[..., Any]":
    """Return the same flow, which notes its run when that ends."""
    noting = flow.with_options()

    def note(flow: Any, run: FlowRun, state: State) -> None:
        seen.append(run)

    for add in (
        *(noting.on_completion, noting.on_failure),
        *(noting.on_cancellation, noting.on_crashed),
    ):
        add(note)
    return noting


def changed(flow: "Flow[..., Any]", runner: str | None, name: str | None) -> "Flow[..., Any]":
    """Return a flow with another runner, and whose runs are called so, if that is given."""
    options: dict[str, Any] = {}
    if runner is not None:
        options["task_runner"] = runner
    if name is not None:
        options["flow_run_name"] = lambda: name  # as it is: no template
    return flow.with_options(**options) if options else flow


def _given(params: tuple[str, ...], param_json: str | None) -> dict[str, Any]:
    """Return parameters as they were written: `_Typed` where they may be texts."""
    given: dict[str, Any] = {}
    if param_json is not None:
        try:
            whole = json.loads(param_json)
        except ValueError as error:
            raise UsageError(f"--param-json isn't JSON: {error}.") from error
        if not isinstance(whole, dict):
            raise UsageError('--param-json takes an object, such as {"n": 3}.')
        given.update(whole)
    for param in params:
        name, equals, text = param.partition("=")
        if not equals or not name:
            raise UsageError(f"-p takes NAME=VALUE, not {param}.")
        given[name.strip()] = _Typed(_contents(text[1:]) if text.startswith("@") else text)
    return given


class _Typed(str):
    """A value as it was typed."""

    __slots__ = ()


def _contents(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The parameter's file {path} can't be read: {error}.") from error


def _arguments(flow: "Flow[..., Any]", given: dict[str, Any]) -> dict[str, Any]:
    """Return a call's arguments, checked as the call will check them.

    Raises:
        UsageError: One is missing, not known, or not what its annotation says.
    """
    signature = inspect.signature(flow.fn)
    written = str(signature).replace(f"{entrypoints.SCRIPT}.", "")
    shown = f"{flow.name} is called as {getattr(flow.fn, '__name__', flow.name)}{written}."
    named = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    gathers = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    unknown = [name for name in given if name not in named and not gathers]
    if unknown:
        near = nearest(unknown[0], named)
        raise UsageError(f"There is no parameter {', '.join(unknown)}.{near} {shown}")
    missing = [
        name
        for name, parameter in named.items()
        if parameter.default is parameter.empty and name not in given
    ]
    if missing:
        raise UsageError(f"The flow needs -p {'=... -p '.join(missing)}=... too. {shown}")
    types = _annotations(flow.fn)
    arguments = {
        name: _read(value, types.get(name)) if isinstance(value, _Typed) else value
        for name, value in given.items()
    }
    try:
        flow.validate(**arguments)
    except UsageError as error:
        raise UsageError(f"{error}\n{shown}") from error
    return arguments


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return inspect.get_annotations(function, eval_str=True)
    except Exception:  # names that aren't there: pydantic tells, if it minds
        return {}


def _read(text: str, annotation: Any) -> Any:
    """Return what was typed as JSON says, or the text itself where it isn't JSON or is to be one.

    So `007` stays that for a parameter of type str; in quotes it is JSON there too.
    """
    plain = str(text)
    try:
        value = json.loads(plain)
    except ValueError:
        return plain
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]
    wants_text = all(each in (*_TEXTS, type(None)) for each in members)
    fits = isinstance(value, str) or (value is None and type(None) in members)
    return plain if wants_text and not fits else value
