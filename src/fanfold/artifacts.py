"""Artifacts: tables, texts, links, images and progress that a run makes for people to look at.

`fanfold artifacts ls` lists them, `fanfold artifacts show KEY` shows the last one of a key. Each
function has a twin whose name begins with `a`, to be awaited; neither waits for anything, and ids
can be awaited too, so that `await create_markdown_artifact(...)` works in async code.
"""

import json
import logging
import math
import re
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from fanfold.engine.context import TASK_RUN, current
from fanfold.engine.recording.masking import mask
from fanfold.engine.recording.rows import rows, written
from fanfold.engine.recording.sending import record
from fanfold.engine.watching import in_notebook
from fanfold.values.cards import WithCard
from fanfold.values.errors import UsageError
from fanfold.values.facts import ArtifactChanged, ArtifactMade, now_us
from fanfold.values.ids import new_id

P = ParamSpec("P")
T = TypeVar("T")

MARKDOWN_MOST = 20_000
"""Characters of a text that a notebook shows."""

_KEY = re.compile("[a-z0-9-]+")
_TAG = re.compile("<(?=[a-zA-Z/!?])")
"""Where markup would begin that isn't Markdown's."""
_logger = logging.getLogger("fanfold.artifacts")


class ArtifactId(WithCard, str):
    """An artifact's id: 24 hex digits. Awaiting it returns it; notebooks show the artifact.

    Args:
        given: The id.
        made: What it is the id of, where that is at hand.
    """

    __slots__ = ("made",)

    made: ArtifactMade | None

    def __new__(cls, given: str, made: ArtifactMade | None = None) -> "ArtifactId":
        """Make an id."""
        self = super().__new__(cls, given)
        self.made = made
        return self

    def __reduce__(self) -> Any:
        return ArtifactId, (str(self),)

    def __getstate__(self) -> None:
        """Leave its key that of the id alone."""

    def _repr_markdown_(self) -> str | None:
        if self.made is None or self.made.kind not in ("markdown", "link"):
            return None
        told = mask(json.loads(self.made.data))
        return _TAG.sub("&lt;", told if len(told) <= MARKDOWN_MOST else told[:MARKDOWN_MOST] + "…")

    def __await__(self) -> Generator[Any, None, "ArtifactId"]:
        return self
        yield  # what makes it a generator


def create_table_artifact(
    table: Any, key: str | None = None, description: str | None = None
) -> ArtifactId:
    """Make a table for people to look at.

    Args:
        table: A list of dicts, a list of lists, a dict of columns, or a frame of pandas, polars or
            pyarrow. NaN is shown as nothing, dates are ISO 8601.
        key: Lowercase letters, digits and dashes; several artifacts of one key are its versions.
        description: What it shows, in Markdown.

    Returns:
        The artifact's id.

    Raises:
        UsageError: The key is wrong, it is no table, or it is larger than 1 MiB as JSON.
    """
    return _made("table", written(rows(table), "The table"), key, description)


def create_markdown_artifact(
    markdown: str, key: str | None = None, description: str | None = None
) -> ArtifactId:
    """Make a text for people to read.

    Args:
        markdown: The text, in Markdown.
        key: Lowercase letters, digits and dashes; several artifacts of one key are its versions.
        description: What it is, in Markdown.

    Returns:
        The artifact's id.

    Raises:
        UsageError: The key is wrong, or it is larger than 1 MiB as JSON.
    """
    return _made("markdown", written(str(markdown), "The text"), key, description)


def create_link_artifact(
    link: str, link_text: str | None = None, key: str | None = None, description: str | None = None
) -> ArtifactId:
    """Make a link for people to follow.

    Args:
        link: Where it leads.
        link_text: What to show in its place.
        key: Lowercase letters, digits and dashes; several artifacts of one key are its versions.
        description: What is there, in Markdown.

    Returns:
        The artifact's id.

    Raises:
        UsageError: The key is wrong.
    """
    shown = f"[{link_text}]({link})" if link_text else str(link)
    return _made("link", written(shown, "The link"), key, description)


def create_image_artifact(
    image_url: str, key: str | None = None, description: str | None = None
) -> ArtifactId:
    """Make an image for people to look at.

    Args:
        image_url: Where it is; people's browsers load it from there.
        key: Lowercase letters, digits and dashes; several artifacts of one key are its versions.
        description: What it shows, in Markdown.

    Returns:
        The artifact's id.

    Raises:
        UsageError: The key is wrong.
    """
    return _made("image", written(str(image_url), "The URL"), key, description)


def create_progress_artifact(
    progress: float, key: str | None = None, description: str | None = None
) -> ArtifactId:
    """Make a bar that shows how far something is; `update_progress_artifact` moves it.

    Args:
        progress: Per cent done; below 0 counts as 0, above 100 as 100.
        key: Lowercase letters, digits and dashes; several artifacts of one key are its versions.
        description: What it is about, in Markdown.

    Returns:
        The artifact's id.

    Raises:
        UsageError: The key is wrong, or the progress is no number.
    """
    return _made("progress", written(_per_cent(progress), "The progress"), key, description)


def update_progress_artifact(
    artifact_id: str, progress: float, description: str | None = None
) -> ArtifactId:
    """Say how far something is by now.

    Args:
        artifact_id: What `create_progress_artifact` returned.
        progress: Per cent done; below 0 counts as 0, above 100 as 100.
        description: A new one; None leaves it as it is.

    Returns:
        The same id.

    Raises:
        UsageError: The progress is no number.
    """
    context = current()
    changed = ArtifactChanged(
        flow_run_id=context.info.recorded_under if context is not None else "",
        artifact_id=str(artifact_id),
        data=written(_per_cent(progress), "The progress"),
        description=description,
        at_us=now_us(),
    )
    record(changed)
    return ArtifactId(artifact_id)


def _made(kind: str, data: str, key: str | None, description: str | None) -> ArtifactId:
    if key is not None and not _KEY.fullmatch(key):
        raise UsageError(
            f"An artifact's key can't be {key!r}: it is made of lowercase letters, digits and "
            "dashes."
        )
    made = ArtifactMade(
        artifact_id=new_id(),
        kind=kind,
        key=key or "",
        data=data,
        description=description or "",
        at_us=now_us(),
        **_place(f"create_{kind}_artifact"),
    )
    record(made)
    return ArtifactId(made.artifact_id, made if in_notebook() else None)


def _place(called: str) -> dict[str, Any]:
    """Return which run the caller's code belongs to, as facts have it."""
    context = current()
    if context is None:
        _logger.warning(
            "%s() was called outside of any run; the artifact is kept without one.", called
        )
        return {"flow_run_id": ""}
    info, element = context.info, context.element
    place: dict[str, Any] = {"flow_run_id": info.recorded_under}
    if info.kind == TASK_RUN:
        place["task_run_id"] = info.id
        if element is not None and not info.single:
            place["index"] = info.first + element.index
    return place


def _per_cent(progress: float) -> float:
    try:
        given = float(progress)
    except (TypeError, ValueError):
        given = math.nan
    if math.isnan(given):
        raise UsageError(f"A progress is a number of per cent from 0 to 100, not {progress!r}.")
    inside = min(100.0, max(0.0, given))
    if inside != given:
        _logger.warning("A progress of %g %% is taken as %g %%.", given, inside)
    return inside


def _awaited(function: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return the twin of a function that is to be awaited."""

    @wraps(function)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    twin.__name__ = twin.__qualname__ = f"a{function.__name__}"
    return twin


acreate_table_artifact = _awaited(create_table_artifact)
acreate_markdown_artifact = _awaited(create_markdown_artifact)
acreate_link_artifact = _awaited(create_link_artifact)
acreate_image_artifact = _awaited(create_image_artifact)
acreate_progress_artifact = _awaited(create_progress_artifact)
aupdate_progress_artifact = _awaited(update_progress_artifact)
