"""Run the command line: `fanfold`, or `python -m fanfold.cli`.

What the exit codes say is in `cli.exits`.
"""

import io
import sys
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from fanfold.cli.exits import Exit, complaint
from fanfold.engine.settings.lookup import nearest
from fanfold.values.errors import FanfoldError

NOUNS = {
    "artifacts": ("fanfold.cli.artifacts", "What runs made for people to look at."),
    "cache": ("fanfold.cli.cache", "Kept results: what is there, why a call ran, what may go."),
    "completion": ("fanfold.cli.completion", "Let a shell complete commands, runs and flows."),
    "config": ("fanfold.cli.config", "Look at settings and change them; profiles."),
    "db": ("fanfold.cli.db", "The history's database: its state, upgrades, old runs."),
    "doctor": ("fanfold.cli.doctor", "Find out what is wrong here, and what to do about it."),
    "migrate": ("fanfold.cli.migrate", "Move a project from Prefect to Fanfold."),
    "run": ("fanfold.cli.run", "Run a flow of a file or module."),
    "runs": ("fanfold.cli.runs", "Look at runs and their logs; cancel, retry, debug them."),
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
        """Run a command; what Fanfold has to complain about is a line, and Ctrl-C is silent."""
        try:
            return super().invoke(ctx)
        except FanfoldError as error:
            raise complaint(error) from error
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the nouns that begin so, without loading them."""
        nouns = [
            CompletionItem(noun, help=NOUNS[noun][1])
            for noun in self.list_commands(ctx)
            if noun.startswith(incomplete)
        ]
        # Past click.Group, which would load every noun to ask whether it is hidden.
        return nouns + click.Command.shell_complete(self, ctx, incomplete)


@click.command(cls=Nouns)
@click.version_option(package_name="fanfold", message="fanfold %(version)s")
def fanfold() -> None:
    """Flows and tasks whose maps take a million elements."""


def main() -> None:
    """Run the command line, and exit."""
    for stream in (sys.stdout, sys.stderr):
        # What others named or logged may have characters that an output's encoding lacks.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    fanfold(prog_name="fanfold")


if __name__ == "__main__":
    main()
