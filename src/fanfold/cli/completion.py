"""`fanfold completion`: what a shell needs to complete our commands, and what it asks for then.

Completion never says anything but what may come next: whatever goes wrong, nothing comes.
"""

import shlex
from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class

from fanfold.cli.texts import state_words
from fanfold.engine import registry, settings
from fanfold.engine.settings.kinds import OFF
from fanfold.ports.history import History
from fanfold.values.records import Artifacts, FlowRuns

PROGRAM = "fanfold"
VARIABLE = "_FANFOLD_COMPLETE"
"""What click looks at for a program of that name, to see that a shell asks."""
LOOKED_AT = 200
"""The latest runs, among which names and flows are looked for: some milliseconds."""
SHELLS = {
    "bash": "~/.bashrc",
    "zsh": "~/.zshrc",
    "fish": "~/.config/fish/completions/fanfold.fish",
}
"""Where each shell looks for it."""
TO_TYPE = """\b
bash: echo 'eval "$(fanfold completion bash)"' >> ~/.bashrc
zsh:  echo 'eval "$(fanfold completion zsh)"' >> ~/.zshrc
fish: fanfold completion fish > ~/.config/fish/completions/fanfold.fish
"""
"""As it stands: click fills the lines of a paragraph otherwise."""


@click.command(epilog=TO_TYPE)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> None:
    """Print what makes a shell complete our commands, runs, flows and states."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(click.Group(PROGRAM), {}, PROGRAM, VARIABLE).source())


def runs_like(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the latest runs' names, and ids that begin as typed."""

    def told(history: History) -> Iterable[CompletionItem]:
        latest = history.read(FlowRuns(limit=LOOKED_AT))
        yield from _like("last", incomplete, "the latest run")
        for each in latest:
            yield from _like(each.name, incomplete, f"{each.flow}, {each.state.label}")
        if incomplete:
            for each in latest:
                yield from _like(each.id, incomplete, f"{each.name}, {each.state.label}")

    return _asked(told)


def flows_like(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the latest runs' flows."""

    def told(history: History) -> Iterable[CompletionItem]:
        for each in history.read(FlowRuns(limit=LOOKED_AT)):
            yield from _like(each.flow, incomplete)

    return _asked(told)


def keys_like(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return artifacts' keys."""

    def told(history: History) -> Iterable[CompletionItem]:
        for each in history.read(Artifacts(latest_only=True, limit=LOOKED_AT)):
            yield from _like(each.key, incomplete, each.kind)

    return _asked(told)


def files_like(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Have the shell complete files by itself."""
    return [CompletionItem(incomplete, type="file")]


def states_like(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return what may be typed for states."""
    return [item for word in state_words() for item in _like(word, incomplete.lower())]


def words_like(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return those of some words that begin as typed."""
    return [item for word in words for item in _like(word, incomplete)]


def _like(word: str, incomplete: str, help_text: str = "") -> Iterable[CompletionItem]:
    # The shells' protocol is lines, and bash puts a word in as it is, where quotes would be needed.
    if word.isprintable() and word.startswith(incomplete) and word == shlex.quote(word):
        yield CompletionItem(word, help=help_text if help_text.isprintable() else "")


def _asked(told: Callable[[History], Iterable[CompletionItem]]) -> list[CompletionItem]:
    try:
        url = settings.current().history_url
        if url == OFF:
            return []
        history = registry.history(url)
        try:
            return list({item.value: item for item in told(history)}.values())
        finally:
            history.close()
    except (
        Exception
    ):  # A message in the middle of what somebody types would harm more than it helps
        return []
