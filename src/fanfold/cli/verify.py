"""`fanfold cache verify`: whether all that is kept is as it was committed."""

import click

from fanfold.cli.exits import Exit
from fanfold.cli.stores import chosen, storage_option, tasks_argument
from fanfold.cli.tables import Column, json_option, show, show_json
from fanfold.cli.texts import plural
from fanfold.engine.results.checking import Finding, findings

_ADVICE = (
    "What is damaged or missing is made again when it is needed, and then goes with `fanfold cache "
    "gc`; indexes that aren't believed here go with `fanfold cache gc --unreadable`."
)


@click.command()
@tasks_argument
@click.option("--quick", is_flag=True, help="Look at sizes alone; don't read what is kept.")
@storage_option
@json_option
@click.pass_context
def command(
    context: click.Context, tasks: tuple[str, ...], quick: bool, storage: str | None, as_json: bool
) -> None:
    """Read all that is kept, and say what isn't as it was committed.

    Damaged, truncated and missing objects, and indexes that are unsigned or signed by keys that
    aren't known here, make it exit with 1: what they hold is made anew. Objects that no index names
    are told, too; they belong to runs that are at work, or are what `fanfold cache gc` removes.
    """
    place = chosen(storage)
    inventory = place.inventory(tasks)
    found = [
        each
        for folder in inventory.folders
        for each in findings(place.store, folder, contents=not quick)
    ]
    bad = [each for each in found if not each.harmless]
    if as_json:
        show_json(found)
    else:
        _tell(found, len(inventory.folders), len(bad))
    context.exit(Exit.FAILED if bad else Exit.DONE)


def _tell(found: list[Finding], tasks: int, bad: int) -> None:
    if found:
        show(
            [
                Column(title="Object", fold=True),
                Column(title="Problem", fold=True),
                Column(title="Results", whole=True, right=True),
            ],
            [[each.object, each.problem, each.results] for each in found],
        )
    told = f"{plural(bad, 'problem')} found" if bad else "All is as it was committed"
    click.echo(f"{told}, in {plural(tasks, 'task')}.", err=True)
    if bad:
        click.echo(_ADVICE, err=True)
