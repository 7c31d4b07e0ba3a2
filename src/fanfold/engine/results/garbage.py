"""Which results and objects of a store are to go. Pure.

The rules:

- A result goes when it has expired, when another under the same key has replaced it, or when it is
  chosen: for its age, the size of all, because no run knows it, or because somebody named it.
- A result never goes while an older one under its key stays: that one would be found again.
- What users have named themselves is theirs: such objects stay, and so does what is said of them,
  unless they are named for removal.
- Indexes don't change. One of which all goes is removed; one of which some goes is replaced by
  another that names the rest. Only then are objects removed that no index names any more. Who holds
  a look-up from before finds an object missing, and makes the result anew.
- What no index names, what is left of claims and what killed writers left unfinished goes when it
  is older than `grace_s` by the storage's own clock: what is at work is younger.
- What a driver committed too late, after others had resumed its run, goes with that, and whenever
  an index of that run goes: without one of a later driver it would count.
- Where an index isn't believed, nobody knows what it names: nothing unnamed goes there.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fanfold.engine.results import object_names
from fanfold.engine.results.inventory import Entry, Folder, Inventory
from fanfold.ports.results import Listed, is_unfinished

GRACE_S = 24 * 3_600.0
"""Far longer than anything is staged before its commit, transactions excepted."""


class Why(StrEnum):
    """Why something goes."""

    EXPIRED = "expired"
    REPLACED = "replaced"
    MISSING = "missing"
    AGE = "too old"
    SIZE = "beyond the size"
    UNKNOWN = "of no run"
    NAMED = "named"
    UNNAMED = "never committed"
    UNREADABLE = "unreadable"


_WISHED = (Why.AGE, Why.SIZE, Why.UNKNOWN, Why.NAMED)
"""Whatever else goes could not be found anyway."""


Chosen = Callable[[Folder, Entry], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What somebody wants to be gone."""

    now: float
    """Unix seconds by the storage's clock."""
    expired: bool = True
    """Also what was replaced, and what was never committed."""
    before_s: float | None = None
    """What was written before, in unix seconds."""
    most_bytes: int | None = None
    """What ours may take together; the oldest go first."""
    unknown: Chosen | None = None
    """Says of a result that no run in the history knows it."""
    named: Chosen | None = None
    """Says of a result that it was named for removal."""
    unreadable: bool = False
    """Whether indexes that aren't believed go as well."""
    grace_s: float = GRACE_S


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What is to be done in one task's folder: first write, then remove, in this order."""

    folder: Folder
    replacements: dict[str, Mapping[str, bytes]] = field(
        default_factory=dict[str, Mapping[str, bytes]]
    )
    """What is left of indexes of which some goes, by the index's name."""
    indexes: list[str] = field(default_factory=list[str])
    """Those that go, replaced ones included."""
    objects: list[str] = field(default_factory=list[str])
    """Those that go after them."""
    users: list[str] = field(default_factory=list[str])
    """Those of users' own naming; they go first, for they could be found by their names."""
    chosen: frozenset[bytes] = frozenset()
    """Contents of results that somebody wants to be gone, wherever they are."""
    results: Counter[Why] = field(default_factory=Counter[Why])
    """How many go, and why."""
    freed_bytes: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.indexes or self.objects or self.users)


def judged(inventory: Inventory, wishes: Wishes) -> list[Verdict]:
    """Return what is to go of each task's folder; nothing of those that aren't named."""
    verdicts = [_of_folder(folder, wishes, frozenset()) for folder in inventory.folders]
    if wishes.most_bytes is not None:
        victims = _beyond(verdicts, wishes.most_bytes)
        verdicts = [
            _of_folder(each.folder, wishes, victims[each.folder.name])
            if each.folder.name in victims
            else each
            for each in verdicts
        ]
    return [verdict for verdict in verdicts if verdict]


def is_index(name: str) -> bool:
    """Return whether an object of a task is an index, by its name."""
    return name.split("/")[2] == "index"


def loose(inventory: Inventory, wishes: Wishes, known: Callable[[str], bool] | None) -> list[str]:
    """Return what goes that is of no task: results of flows, signatures, claims, the unfinished.

    Args:
        inventory: What is there.
        wishes: What shall go.
        known: Whether the history knows a flow run, by its id; None where nobody asks.
    """
    # Somebody may have named his own objects so.
    theirs = {
        entry.place
        for folder in inventory.folders
        for entry in folder.entries()
        if entry.named_by_user
    }
    others = [each for name, each in inventory.others.items() if name not in theirs]
    gone = [
        each.name
        for each in others
        if each.name.startswith("flows/") and _flow_result_goes(each, wishes, known)
    ]
    there = inventory.others.keys() - set(gone)
    for each in others:
        late = _late(each, wishes) and wishes.expired
        start, _, signed = each.name.partition("/")
        # Of users' own objects nobody knows here whether they are there.
        ours = start == "signatures" and signed.startswith(("flows/", "transactions/"))
        left = ours and signed not in there and (late or signed in gone)
        if left or (late and (start == "claims" or is_unfinished(each.name))):
            gone.append(each.name)
    return sorted(set(gone))


def _flow_result_goes(each: Listed, wishes: Wishes, known: Callable[[str], bool] | None) -> bool:
    if wishes.before_s is not None and each.modified_s < wishes.before_s:
        return True
    return known is not None and _late(each, wishes) and not known(each.name.rpartition("/")[2])


def _late(each: Listed, wishes: Wishes) -> bool:
    return each.modified_s < wishes.now - wishes.grace_s


def _of_folder(folder: Folder, wishes: Wishes, victims: frozenset[str]) -> Verdict:
    entries = list(folder.entries())
    whys = _whys(folder, entries, wishes, victims)
    verdict = Verdict(folder=folder)
    verdict.results.update(why for why in whys if why is not None)
    judgements = zip(entries, whys, strict=True)
    verdict.chosen = frozenset(entry.content for entry, why in judgements if why in _WISHED)
    going = [entry for entry, why in zip(entries, whys, strict=True) if why is not None]
    staying = [entry for entry, why in zip(entries, whys, strict=True) if why is None]
    left: dict[str, dict[str, list[bytes]]] = {
        index: {} for index in sorted({entry.committed_by for entry in going})
    }
    for entry in staying:
        if entry.committed_by in left:
            left[entry.committed_by].setdefault(entry.segment, []).append(entry.row)
    verdict.indexes += left
    for index, tables in left.items():
        if tables:
            verdict.replacements[index] = {name: b"".join(rows) for name, rows in tables.items()}
    if wishes.unreadable and folder.unread:
        verdict.indexes += folder.unread
        verdict.results[Why.UNREADABLE] += len(folder.unread)
    overtaken = _overtaken(folder, verdict.indexes, wishes)
    if overtaken:
        verdict.indexes[:0] = overtaken
        verdict.results[Why.UNNAMED] += len(overtaken)
    named, kept = ({entry.place for entry in some} for some in (entries, staying))
    _sort_objects(verdict, named, kept, wishes)
    removed = {*verdict.indexes, *verdict.objects} - verdict.replacements.keys()
    verdict.freed_bytes = sum(
        folder.objects[name].size_bytes for name in removed & folder.objects.keys()
    )
    return verdict


def _whys(
    folder: Folder, entries: Sequence[Entry], wishes: Wishes, victims: frozenset[str]
) -> list[Why | None]:
    """Return why each result goes; None for those that stay."""
    newest = {entry.key: entry for entry in entries}
    theirs = {e.key for e in entries if e.named_by_user and not _is_named(folder, e, wishes)}
    ends = {
        key: _why(folder, entry, wishes, victims)
        for key, entry in newest.items()
        if key not in theirs
    }
    whys: list[Why | None] = []
    for entry in entries:
        why = ends.get(entry.key)
        if entry.place != newest[entry.key].place and entry.key not in theirs:
            why = Why.REPLACED if why or wishes.expired else _why(folder, entry, wishes, victims)
        whys.append(why)
    return whys


def _is_named(folder: Folder, entry: Entry, wishes: Wishes) -> bool:
    return wishes.named is not None and wishes.named(folder, entry)


def _why(folder: Folder, entry: Entry, wishes: Wishes, victims: frozenset[str]) -> Why | None:
    """Return why a result goes that nothing has replaced."""
    if _is_named(folder, entry, wishes):
        return Why.NAMED
    if wishes.expired and entry.record.expiry <= wishes.now:
        return Why.EXPIRED
    lies = folder.objects.get(entry.place)
    if lies is None:
        index = folder.objects.get(entry.committed_by)
        lost = wishes.expired and index is not None and _late(index, wishes)
        return Why.MISSING if lost else None
    if wishes.before_s is not None and lies.modified_s < wishes.before_s:
        return Why.AGE
    if entry.place in victims:
        return Why.SIZE
    if wishes.unknown is not None and _late(lies, wishes) and wishes.unknown(folder, entry):
        return Why.UNKNOWN
    return None


def _overtaken(folder: Folder, going: Sequence[str], wishes: Wishes) -> list[str]:
    """Return the indexes that came too late and go, before those that keep them from counting."""
    runs = {object_names.run_and_epoch(name)[0] for name in filter(object_names.is_index, going)}
    found: list[str] = []
    for name in folder.overtaken:
        listed = folder.objects.get(name)
        late = wishes.expired and listed is not None and _late(listed, wishes)
        if late or object_names.run_and_epoch(name)[0] in runs:
            found.append(name)
    return found


def _sort_objects(verdict: Verdict, named: set[str], staying: set[str], wishes: Wishes) -> None:
    """Put the objects that go where they belong in a verdict."""
    folder = verdict.folder
    gone = named - staying - folder.indexes.keys()
    verdict.users += sorted(name for name in gone if not object_names.is_of_task(name))
    unnamed = {
        name
        for name, each in folder.objects.items()
        if name not in named and not is_index(name) and _late(each, wishes)
    }
    if not wishes.expired or (folder.unread and not wishes.unreadable):
        unnamed = set()
    if unnamed:
        verdict.results[Why.UNNAMED] += len(unnamed)
    verdict.objects += sorted((gone & folder.objects.keys()) | unnamed)


def _beyond(verdicts: Sequence[Verdict], most_bytes: int) -> dict[str, frozenset[str]]:
    """Return the oldest objects of results that are to go for what stays to have a size."""
    stay: list[tuple[float, str, int, str]] = []
    total = 0
    for verdict in verdicts:
        removed = {*verdict.indexes, *verdict.objects}
        named = {entry.place for entry in verdict.folder.entries()}
        for name, each in verdict.folder.objects.items():
            if name in removed:
                continue
            total += each.size_bytes
            if name in named:
                stay.append((each.modified_s, name, each.size_bytes, verdict.folder.name))
    victims: defaultdict[str, set[str]] = defaultdict(set)
    for _, name, size_bytes, folder in sorted(stay):
        if total <= most_bytes:
            break
        total -= size_bytes
        victims[folder].add(name)
    return {folder: frozenset(names) for folder, names in victims.items()}
