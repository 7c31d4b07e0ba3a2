"""`fanfold config`: look at settings and change them; profiles."""

import json
import re
import sys
from typing import Any

import click

from fanfold.cli import profiles as file
from fanfold.cli.tables import Column, json_option, show
from fanfold.engine import settings
from fanfold.engine.recording.masking import mask
from fanfold.engine.settings.files import Profiles
from fanfold.engine.settings.lookup import (
    PROFILE,
    Found,
    Layer,
    nearest,
    profiles,
    selected_profile,
    working_directory,
)
from fanfold.values.errors import UsageError

FIRST_PROFILE = "default"
"""The profile that `set` makes where none is active."""
_COMMAND_LINE = "command line"
_COLUMNS = (
    Column(title="Setting", whole=True),
    Column(title="Value", fold=True),
    Column(title="Source", fold=True),
)


@click.group(invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Look at settings and change them; profiles.

    `set` and `unset` change the active profile. Environment variables and a project's files have
    the last word over it.
    """
    if context.invoked_subcommand is None:
        context.invoke(view)


@command.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with descriptions.")
@click.option("--show-defaults", is_flag=True, help="Also what nobody has set.")
def view(as_json: bool = False, show_defaults: bool = False) -> None:
    """Show each setting's value, and who said so."""
    found = settings.found()
    shown = [each for each in found if show_defaults or each.layer is not Layer.DEFAULT]
    if as_json:
        click.echo(json.dumps({each.name: _described(each) for each in shown}, indent=2))
        return
    show(_COLUMNS, [(e.name, written(e.value), e.source) for e in shown])
    if len(shown) < len(found) and sys.stdout.isatty():
        click.echo(f"{len(found) - len(shown)} more have their defaults: --show-defaults")


@command.command(name="set")
@click.argument("assignments", metavar="NAME=VALUE...", nargs=-1, required=True)
def set_(assignments: tuple[str, ...]) -> None:
    """Set values in the active profile.

    NAME is as shown by `view`, such as tasks.default_retries, or an environment variable's.
    """
    values = dict(_assigned(each) for each in assignments)
    known = profiles()
    profile = selected_profile(known) or FIRST_PROFILE
    spelt = {_spelt(known, profile, name): value for name, value in values.items()}
    file.put(known, profile, spelt)
    if not selected_profile(profiles()):
        file.activate(profiles(), profile)
    for name, value in values.items():
        click.echo(f"{name} is {written(value)} in profile {profile}")
    _tell_outvoted(values, profile)


@command.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def unset(names: tuple[str, ...]) -> None:
    """Take values out of the active profile."""
    known = profiles()
    profile = selected_profile(known)
    table = known.tables.get(profile, {})
    spelt: dict[str, str] = {}
    for name in names:
        # One that isn't known any more must be possible to take out, too.
        plain = name if name in table else _named(name)
        spelt[plain] = _spelt(known, profile, plain)
        if spelt[plain] not in table:
            of = f"profile {profile}" if profile else "a profile: none is active"
            raise click.ClickException(f"{plain} isn't set in {of}.")
    file.take_out(known, profile, list(spelt.values()))
    for name in spelt:
        click.echo(f"{name} isn't set in profile {profile} any more")


@command.group(name="profiles")
def profiles_() -> None:
    """Named sets of values, one of which is active."""


@profiles_.command()
@json_option
def ls(as_json: bool) -> None:
    """List the profiles."""
    known = profiles()
    selected = PROFILE.text() or known.active
    if as_json:
        told = {
            name: {"active": name == selected, "values": dict(table)}
            for name, table in known.tables.items()
        }
        click.echo(json.dumps(told, indent=2, default=str))
        return
    rows = [
        (name, "active" if name == selected else "", len(table))
        for name, table in known.tables.items()
    ]
    show(("Profile", "", Column(title="Values", right=True)), rows)


@profiles_.command()
@click.argument("name")
def use(name: str) -> None:
    """Make a profile the active one."""
    known = profiles()
    file.activate(known, _existing(known, name))
    click.echo(f"Profile {name} is active")
    if PROFILE.text() not in ("", name):
        click.echo(f"Here {PROFILE.name}={PROFILE.text()} has the last word.", err=True)


@profiles_.command()
@click.argument("name")
@click.option("--from", "origin", metavar="PROFILE", help="Start with this profile's values.")
def create(name: str, origin: str | None) -> None:
    """Make a profile; `use` makes it the active one."""
    known = profiles()
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise click.UsageError(f"A profile's name is made of letters, digits, - and _: not {name}")
    if name in known.tables:
        raise click.ClickException(f"There is a profile {name} already in {known.path}.")
    file.put(known, name, known.tables[_existing(known, origin)] if origin else {})
    click.echo(f"Made profile {name} in {known.path}")


@profiles_.command()
@click.argument("name")
def delete(name: str) -> None:
    """Delete a profile with all its values."""
    known = profiles()
    file.delete(known, _existing(known, name))
    click.echo(f"Deleted profile {name}")
    if name == known.active:
        click.echo("No profile is active now.", err=True)


def written(value: Any) -> str:
    """Return a value as `set` takes it, without secrets."""
    if isinstance(value, (tuple, list)):
        return ",".join(written(each) for each in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return text.lower() if value is None or isinstance(value, bool) else mask(text, ())


def _described(found: Found) -> dict[str, Any]:
    value = found.value
    if isinstance(value, tuple):
        value = tuple(mask(each, ()) if isinstance(each, str) else each for each in value)
    return {
        "value": value if isinstance(value, (bool, int, float, tuple, type(None))) else str(value),
        "source": found.source,
        "description": settings.TABLE[found.name].description,
    }


def _assigned(assignment: str) -> tuple[str, Any]:
    name, equals, text = assignment.partition("=")
    if not equals:
        raise click.UsageError(f"{assignment} needs a value: NAME=VALUE")
    name = _named(name.strip())
    if name == settings.Settings.home.name:
        raise click.UsageError(
            f"home can't be in a profile, for profiles are kept there. Set {settings.HOME}, or "
            "home in fanfold.toml."
        )
    try:
        return name, settings.TABLE[name].read(text, _COMMAND_LINE, working_directory())
    except UsageError as error:
        raise click.UsageError(str(error)) from error


def _named(name: str) -> str:
    try:
        return settings.named(name, _COMMAND_LINE).name
    except UsageError as error:
        raise click.UsageError(str(error)) from error


def _spelt(known: Profiles, profile: str, name: str) -> str:
    """Return the name that the profile has for a setting, which may be the variable's."""
    setting = settings.TABLE.get(name)
    variable = setting.variable.name if setting is not None else name
    return variable if variable in known.tables.get(profile, {}) else name


def _existing(known: Profiles, name: str) -> str:
    if name not in known.tables:
        raise click.UsageError(f"There is no profile {name}.{nearest(name, known.tables)}")
    return name


def _tell_outvoted(values: dict[str, Any], profile: str) -> None:
    for each in settings.found():
        if each.name in values and each.layer is not Layer.PROFILE:
            source = settings.TABLE[each.name].variable.name
            source = source if each.layer is Layer.ENVIRONMENT else each.source
            click.echo(f"{each.name} is {written(each.value)} here: {source} says so.", err=True)
