"""Run the command line: `fanfold`, or `python -m fanfold.cli`.

Exit codes: 0 when it was done, 1 when it couldn't be done, 2 when the command was wrong.
"""

from importlib import import_module
from typing import Any

import click

from fanfold.engine.settings.lookup import nearest
from fanfold.values.errors import FanfoldError

NOUNS = {
    "config": ("fanfold.cli.config", "Look at settings and change them; profiles."),
    "migrate": ("fanfold.cli.migrate", "Move a project from Prefect to Fanfold."),
}
"""For each noun the module whose `command` it is, and what `fanfold --help` says of it.

A module is loaded when its noun is used, so that no command waits for what others need.
"""


class Nouns(click.Group):
    """The commands of the table above, and our errors as a line of text."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the nouns."""
        return sorted(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the noun's module."""
        if cmd_name not in NOUNS:
            return None
        return import_module(NOUNS[cmd_name][0]).command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one is near."""
        if args[0] not in NOUNS:
            ctx.fail(f"There is no command {args[0]}.{nearest(args[0], NOUNS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the nouns without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(noun, NOUNS[noun][1]) for noun in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what Fanfold has to complain about exits with 1."""
        try:
            return super().invoke(ctx)
        except FanfoldError as error:
            raise click.ClickException(str(error)) from error


@click.command(cls=Nouns)
@click.version_option(package_name="fanfold", message="fanfold %(version)s")
def fanfold() -> None:
    """Flows and tasks whose maps take a million elements."""


def main() -> None:
    """Run the command line, and exit."""
    fanfold(prog_name="fanfold")


if __name__ == "__main__":
    main()
