"""What people decided about ligands and cells: a history that is only added to.

A review *follows* those that its reviewer had seen as the current ones, as a commit follows its parents. Whatever
nobody has followed is current; two reviewers who answered the same state leave two current reviews, which is shown as a
conflict until a review follows both. To undo is a further entry, after which counts what counted before.

Reviews are the only rows of an index that cannot be made again from the folders; :func:`export` writes them as JSON
lines, which :func:`import_` adds to another index, once however often it is done.
"""

from __future__ import annotations

import heapq
import json
import re
import uuid
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, select

from esr1md.errors import InputError
from esr1md.store import database
from esr1md.store.index import Index
from esr1md.store.tables import reviews

VERDICTS = ("advance", "hold", "reject", "needs more replicas")
KINDS = ("ligand", "cell")
#: What stands for the InChIKey of a cell without a ligand.
APO = "apo"

#: Characters that a comment, and a name of a reviewer or a screen, may have at most.
COMMENT_LENGTH, NAME_LENGTH = 10_000, 200
#: Reviews that may be followed by one.
MOST_FOLLOWED = 1000

_INCHIKEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
_ID = re.compile(r"[0-9a-f]{32}")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Subject:
    """What a review is about: a ligand in a screen, or one of its cells.

    Parameters
    ----------
    screen
        Name of the screen.
    inchikey
        InChIKey of the ligand; :data:`APO` for a cell without one.
    variant, state
        Of the cell; neither for a ligand as a whole.

    Raises
    ------
    InputError
        It is neither a ligand nor a cell.
    """

    screen: str
    inchikey: str
    variant: str | None = None
    state: str | None = None

    def __post_init__(self) -> None:
        _check_text("screen", self.screen, NAME_LENGTH)
        if not isinstance(self.inchikey, str) or not (
            _INCHIKEY.fullmatch(self.inchikey) or (self.inchikey == APO and self.kind == "cell")
        ):
            raise InputError(f"{self.inchikey!r:.60} is not the InChIKey of a ligand", where="review",
                             expected="such as VOXZDWNPVJITMN-ZBRFXRBCSA-N")  # fmt: skip
        if (self.variant is None) != (self.state is None):
            raise InputError("a cell has a variant and a helix-12 state, and a ligand has neither", where="review")
        for name in ("variant", "state"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name), NAME_LENGTH if name == "variant" else 32)

    @property
    def kind(self) -> str:
        """``ligand`` or ``cell``."""
        return "ligand" if self.variant is None else "cell"


@dataclass(frozen=True)
class Review:
    """One entry of the history.

    Attributes
    ----------
    id
        32 hex digits, made once and kept wherever the review is copied to.
    subject
        What it is about.
    verdict
        One of :data:`VERDICTS`; ``None`` for an entry that undoes.
    undoes
        The entry that this one takes back, if that is what it does.
    comment, reviewer
        In the reviewer's words; who that is.
    created
        When (ISO 8601, UTC).
    follows
        The entries that were current when the reviewer looked.
    """

    id: str
    subject: Subject
    verdict: str | None
    undoes: str | None
    comment: str
    reviewer: str
    created: str
    follows: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, value in (("id", self.id), ("undoes", self.undoes)):
            if value is not None or name == "id":
                _check_id(name, value)
        if (self.verdict is None) == (self.undoes is None):
            raise InputError("an entry has a verdict, or undoes another", where="review")
        if self.verdict is not None and self.verdict not in VERDICTS:
            raise InputError(f"unknown verdict {self.verdict!r:.60}", where="review", expected=", ".join(VERDICTS))
        _check_text("comment", self.comment, COMMENT_LENGTH, empty=True)
        _check_text("reviewer", self.reviewer, NAME_LENGTH)
        if len(self.follows) > MOST_FOLLOWED:
            raise InputError(f"follows {len(self.follows)} reviews", where="review", expected=f"<= {MOST_FOLLOWED}")
        for followed in self.follows:
            _check_id("follows", followed)
        try:
            aware = datetime.fromisoformat(self.created).tzinfo is not None
        except (TypeError, ValueError):
            aware = False
        if not aware:
            raise InputError(f"{self.created!r:.60} is not a time", where="review", expected="ISO 8601 with a zone")


class History:
    """All entries about one subject.

    Parameters
    ----------
    entries
        In any order.
    """

    def __init__(self, entries: Iterable[Review]) -> None:
        self._by_id = {entry.id: entry for entry in entries}

    @cached_property
    def entries(self) -> tuple[Review, ...]:
        """Each after those that it follows, else by time."""
        after: dict[str, list[str]] = defaultdict(list)
        missing = {}
        for entry in self._by_id.values():
            before = {followed for followed in entry.follows if followed in self._by_id}
            missing[entry.id] = len(before)
            for followed in before:
                after[followed].append(entry.id)
        ready = [self._moment(name) for name, count in missing.items() if count == 0]
        heapq.heapify(ready)
        placed: dict[str, Review] = {}
        while ready:
            name = heapq.heappop(ready)[1]
            placed[name] = self._by_id[name]
            for later in after[name]:
                missing[later] -= 1
                if missing[later] == 0:
                    heapq.heappush(ready, self._moment(later))
        # entries that follow each other in a circle were not made by us, but must not vanish
        circle = sorted(self._moment(name) for name in self._by_id.keys() - placed.keys())
        return (*placed.values(), *(self._by_id[name] for _, name in circle))

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Ids of the entries that none follows: what the next review follows if its reviewer has seen this history."""
        followed = {followed for entry in self._by_id.values() for followed in entry.follows}
        return tuple(entry.id for entry in self.entries if entry.id not in followed)

    @cached_property
    def current(self) -> tuple[Review, ...]:
        """The reviews that count: none, one, or several that conflict."""
        counting = {name for head in self.heads for name in self._counting(head)}
        # what one undoes may have been followed by another
        counting -= {name for one in counting for name in self._before(one)}
        return tuple(entry for entry in self.entries if entry.id in counting)

    def _moment(self, name: str) -> tuple[datetime, str]:
        return datetime.fromisoformat(self._by_id[name].created), name

    def _counting(self, head: str) -> set[str]:
        """The reviews that count as far as ``head`` knows: itself, or what counted before the entry that it undoes."""
        counting, seen, waiting = set(), set(), [head]
        while waiting:
            name = waiting.pop()
            if name in seen or (entry := self._by_id.get(name)) is None:
                continue
            seen.add(name)
            if entry.undoes is None:
                counting.add(name)
            elif entry.undoes in self._by_id:
                waiting += self._by_id[entry.undoes].follows
        return counting

    def _before(self, name: str) -> set[str]:
        """All that an entry follows, directly or not."""
        found, waiting = set(), list(self._by_id[name].follows)
        while waiting:
            earlier = waiting.pop()
            if earlier not in found and earlier != name and earlier in self._by_id:
                found.add(earlier)
                waiting += self._by_id[earlier].follows
        return found

    def heads_of(self, review: Review) -> tuple[str, ...]:
        """The heads that make ``review`` count; none if it does not."""
        if review not in self.current and review.id not in self.heads:
            return ()
        return tuple(head for head in self.heads if head == review.id or review.id in self._counting(head))

    @property
    def conflict(self) -> bool:
        """Whether several reviews count because their reviewers had not seen each other's."""
        return len(self.current) > 1

    @property
    def verdict(self) -> str | None:
        """The verdict that counts; ``None`` where there is none, or reviewers in conflict disagree."""
        verdicts = {review.verdict for review in self.current}
        return verdicts.pop() if len(verdicts) == 1 else None


def record(
    index: Index,
    subject: Subject,
    verdict: str,
    *,
    reviewer: str,
    comment: str = "",
    follows: Sequence[str] = (),
    id: str | None = None,
) -> Review:
    """Add a review.

    Parameters
    ----------
    index, subject
        Where, and what it is about.
    verdict
        One of :data:`VERDICTS`.
    reviewer, comment
        Who says it, and why.
    follows
        The :attr:`History.heads` that the reviewer had seen; what is left out stays beside this review, as a conflict.
    id
        Of the review, where the caller may send it twice; the second time nothing is added.

    Raises
    ------
    InputError
        A value is not allowed, or ``follows`` names what is no entry about the subject.
    """
    comment = comment.replace("\r\n", "\n").strip() if isinstance(comment, str) else comment
    review = Review(id or uuid.uuid4().hex, subject, verdict, None, comment, _name(reviewer), _now(), tuple(follows))

    def add(connection: Connection) -> Review:
        known = _history(connection, index, subject)
        if there := known.get(review.id):
            return there
        if unknown := [followed for followed in review.follows if followed not in known]:
            raise InputError(f"there is no review '{unknown[0]}' of this {subject.kind}", where="review",
                             expected="follows: those that the reviewer has seen")  # fmt: skip
        _insert(connection, index, [review])
        return review

    return index.write(add)


def undo(index: Index, review: Review, *, reviewer: str, comment: str = "") -> Review:
    """Take back an entry that counts, be it a review or an undoing: after it counts what counted before.

    Raises
    ------
    InputError
        The entry does not count any more, or a value is not allowed.
    """
    new, name = uuid.uuid4().hex, _name(reviewer)

    def add(connection: Connection) -> Review:
        known = _history(connection, index, review.subject)
        if new in known:  # added by the try before this one, whose answer was lost
            return known[new]
        follows = History(known.values()).heads_of(review) if review.id in known else ()
        if not follows:
            raise InputError("this review does not count any more, others have answered it", where="review",
                             do="look at the history again")  # fmt: skip
        entry = Review(new, review.subject, None, review.id, comment.strip(), name, _now(), follows)
        _insert(connection, index, [entry])
        return entry

    return index.write(add)


def history(index: Index, subject: Subject) -> History:
    """All that was said about one subject."""
    return History(index.read(lambda connection: _history(connection, index, subject)).values())


def histories(index: Index, screen: str) -> dict[Subject, History]:
    """All that was said about the ligands and cells of a screen."""
    found: dict[Subject, list[Review]] = defaultdict(list)
    for review in _reviews(index, reviews.c.screen == screen):
        found[review.subject].append(review)
    return {subject: History(entries) for subject, entries in found.items()}


# -- from one index to another -------------------------------------------------------------------------------


def export_lines(index: Index, screen: str | None = None) -> Iterator[str]:
    """Every entry as a line of JSON, oldest first; of one screen when it is named."""
    for review in _reviews(index, True if screen is None else reviews.c.screen == screen):
        yield json.dumps(_flat(review), ensure_ascii=False)


def import_lines(index: Index, lines: Iterable[str], where: str = "reviews") -> tuple[int, int]:
    """Add entries that :func:`export_lines` wrote; all of them or, when one is wrong, none.

    Parameters
    ----------
    lines
        JSON lines; empty ones are passed over.
    where
        Where they are from, for messages.

    Returns
    -------
    added, known
        How many entries were new, and how many were there already.

    Raises
    ------
    InputError
        A line is no entry, or has the id of an entry with another content.
    """
    entries: dict[str, Review] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            review = _review(json.loads(line))
        except InputError as error:
            raise error.at(f"{where}, line {number}") from None
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InputError("is not a review", where=f"{where}, line {number}",
                             expected="a line that 'esr1md store export' wrote") from None  # fmt: skip
        if entries.setdefault(review.id, review) != review:
            raise InputError(f"review '{review.id}' comes twice, differently", where=f"{where}, line {number}")

    def add(connection: Connection) -> int:
        there = {review.id: review for review in _select(connection, reviews.c.store == index.store)}
        for review in entries.values():
            if there.get(review.id, review) != review:
                raise InputError(f"review '{review.id}' is there already, with another content", where=where)
        new = [review for review in entries.values() if review.id not in there]
        _insert(connection, index, new)
        return len(new)

    added = index.write(add)
    return added, len(entries) - added


def restore(index: Index, rows: Iterable[dict[str, Any]]) -> int:
    """Add rows of this table as they were in another database, of whichever store; returns how many were sound."""
    sound = []
    for row in rows:
        try:
            sound.append(_row(row["store"], _review(row)))
        except (InputError, ValueError, TypeError, KeyError) as error:
            warnings.warn(f"a review was damaged and is left out: {error}", stacklevel=2)
    if sound:
        insert = _insert_of(index)
        index.write(lambda connection: connection.execute(insert, sound))
    return len(sound)


# -- inside --------------------------------------------------------------------------------------------------


def _history(connection: Connection, index: Index, subject: Subject) -> dict[str, Review]:
    same = [reviews.c.store == index.store]
    same += [reviews.c[name].is_not_distinct_from(value) for name, value in asdict(subject).items()]
    return {review.id: review for review in _select(connection, *same)}


def _reviews(index: Index, *where: Any) -> list[Review]:
    return index.read(lambda connection: _select(connection, reviews.c.store == index.store, *where))


def _select(connection: Connection, *where: Any) -> list[Review]:
    query = select(reviews).where(*where).order_by(reviews.c.created, reviews.c.id)
    return [_review(row) for row in connection.execute(query).mappings()]


def _insert_of(index: Index) -> Any:
    return database.insert(index.url, reviews).on_conflict_do_nothing()


def _insert(connection: Connection, index: Index, entries: Iterable[Review]) -> None:
    rows = [_row(index.store, entry) for entry in entries]
    if rows:
        connection.execute(_insert_of(index), rows)


def _row(store: str, review: Review) -> dict[str, Any]:
    return {"store": store, **_flat(review)}


def _flat(review: Review) -> dict[str, Any]:
    """A review without levels, as in the table and in JSON lines."""
    own = {field.name: getattr(review, field.name) for field in fields(Review) if field.name != "subject"}
    return {**own, **asdict(review.subject), "kind": review.subject.kind, "follows": list(review.follows)}


def _review(row: Any) -> Review:
    subject = Subject(*(row[field.name] for field in fields(Subject)))
    if row["kind"] != subject.kind:
        raise InputError(f"a {subject.kind} is called {row['kind']!r:.20}", where="review")
    if not isinstance(row["follows"], list):
        raise InputError("'follows' is not a list", where="review")
    own = {field.name: row[field.name] for field in fields(Review) if field.name not in ("subject", "follows")}
    return Review(subject=subject, follows=tuple(row["follows"]), **own)


def _name(reviewer: str) -> str:
    return reviewer.strip() if isinstance(reviewer, str) else reviewer


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _check_id(name: str, value: Any) -> None:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InputError(f"{value!r:.60} is not the id of a review", where=f"review, {name}", expected="32 hex digits")


def _check_text(name: str, value: Any, most: int, *, empty: bool = False) -> None:
    where = f"review, {name}"
    if not isinstance(value, str):
        raise InputError(f"{value!r:.60} is not text", where=where)
    if not value and not empty:
        raise InputError("is empty", where=where)
    if len(value) > most:
        raise InputError(f"has {len(value):,} characters", where=where, expected=f"{most:,} at most")
    if _UNPRINTABLE.search(value) or (not empty and "\n" in value):
        raise InputError("has characters that cannot be shown", where=where)
