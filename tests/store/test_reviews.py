"""What people decide: nothing is lost, conflicts are seen, and what is undone counts as before."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esr1md.errors import InputError
from esr1md.store import Store
from esr1md.store.records import open_index
from esr1md.store.reviews import (
    APO,
    COMMENT_LENGTH,
    VERDICTS,
    History,
    Review,
    Subject,
    export_lines,
    histories,
    history,
    import_lines,
    record,
    undo,
)

ESTRADIOL = "VOXZDWNPVJITMN-ZBRFXRBCSA-N"
LIGAND = Subject("quick", ESTRADIOL)
CELL = Subject("quick", ESTRADIOL, "Y537S", "antagonist")


@pytest.fixture
def index(database, tmp_path):
    return open_index(Store(tmp_path))


@pytest.fixture
def other_index(index, tmp_path):
    """Of another store; over PostgreSQL in the same database."""
    (tmp_path / "other").mkdir()
    return open_index(Store(tmp_path / "other"))


def test_the_newest_review_counts_and_all_are_kept(index):
    first = record(index, LIGAND, "hold", reviewer="ada", comment="  wait for replicas\r\nof Y537S ")
    assert first.comment == "wait for replicas\nof Y537S" and first.created.endswith("+00:00")
    second = record(index, LIGAND, "advance", reviewer="bob", follows=history(index, LIGAND).heads)
    found = history(index, LIGAND)
    assert found.entries == (first, second) and found.current == (second,)
    assert found.verdict == "advance" and not found.conflict
    assert history(index, CELL).entries == () and history(index, CELL).verdict is None


def test_subjects_are_apart(index):
    subjects = [LIGAND, CELL, Subject("quick", APO, "WT", "agonist"), Subject("other", ESTRADIOL)]
    for subject, verdict in zip(subjects, VERDICTS, strict=True):
        record(index, subject, verdict, reviewer="ada")
    assert [history(index, subject).verdict for subject in subjects] == list(VERDICTS)
    found = histories(index, "quick")
    assert {subject: h.verdict for subject, h in found.items()} == dict(zip(subjects[:3], VERDICTS, strict=False))
    assert [subject.kind for subject in subjects] == ["ligand", "cell", "cell", "ligand"]


def test_two_who_answer_the_same_are_in_conflict_until_both_are_answered(index):
    base = record(index, LIGAND, "hold", reviewer="ada")
    one = record(index, LIGAND, "advance", reviewer="ada", follows=[base.id])
    other = record(index, LIGAND, "reject", reviewer="bob", follows=[base.id])
    found = history(index, LIGAND)
    assert found.conflict and set(found.current) == {one, other} and found.verdict is None
    assert set(found.heads) == {one.id, other.id}
    last = record(index, LIGAND, "reject", reviewer="cyn", follows=found.heads)
    assert history(index, LIGAND).current == (last,)


def test_undo_brings_back_what_counted_before(index):
    first = record(index, LIGAND, "hold", reviewer="ada")
    second = record(index, LIGAND, "reject", reviewer="ada", follows=[first.id])
    undone = undo(index, second, reviewer="bob", comment="wrong ligand")
    assert undone.verdict is None and undone.undoes == second.id and undone.comment == "wrong ligand"
    assert history(index, LIGAND).current == (first,)
    redone = undo(index, undone, reviewer="ada")
    assert history(index, LIGAND).current == (second,)
    undo(index, undo(index, redone, reviewer="ada"), reviewer="ada")
    assert history(index, LIGAND).current == (second,)
    undo(index, second, reviewer="ada")
    assert history(index, LIGAND).current == (first,)
    undo(index, first, reviewer="ada")
    assert history(index, LIGAND).current == () and history(index, LIGAND).verdict is None
    assert len(history(index, LIGAND).entries) == 8
    last = record(index, LIGAND, "advance", reviewer="ada", follows=history(index, LIGAND).heads)
    assert history(index, LIGAND).current == (last,)


def test_undo_of_one_of_two_settles_a_conflict(index):
    base = record(index, LIGAND, "hold", reviewer="ada")
    one = record(index, LIGAND, "advance", reviewer="ada", follows=[base.id])
    other = record(index, LIGAND, "reject", reviewer="bob", follows=[base.id])
    undo(index, one, reviewer="ada")
    assert history(index, LIGAND).current == (other,), "and not the one before, which the other has answered"


def test_what_does_not_count_cannot_be_undone(index):
    first = record(index, LIGAND, "hold", reviewer="ada")
    record(index, LIGAND, "reject", reviewer="ada", follows=[first.id])
    with pytest.raises(InputError, match="does not count any more"):
        undo(index, first, reviewer="ada")
    assert len(history(index, LIGAND).entries) == 2


def test_people_who_review_at_once_lose_nothing(index):
    base = record(index, LIGAND, "hold", reviewer="ada")

    def review(name: str) -> None:
        record(index, LIGAND, "advance", reviewer=name, follows=[base.id])

    threads = [threading.Thread(target=review, args=(f"reviewer {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = history(index, LIGAND)
    assert len(found.current) == 8 and found.conflict and found.verdict == "advance"


def test_a_review_that_is_sent_twice_is_one(index):
    sent = [record(index, LIGAND, "hold", reviewer="ada", id="ab" * 16) for _ in range(2)]
    assert sent[0] == sent[1] and len(history(index, LIGAND).entries) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"verdict": "maybe"}, "unknown verdict 'maybe'; expected advance, hold, reject, needs more replicas"),
        ({"verdict": None}, "has a verdict, or undoes another"),
        ({"reviewer": "  "}, "review, reviewer: is empty"),
        ({"reviewer": "a\nb"}, "cannot be shown"),
        ({"reviewer": 5}, "is not text"),
        ({"comment": "x" * (COMMENT_LENGTH + 1)}, "has 10,001 characters; expected 10,000 at most"),
        ({"comment": "nul \0"}, "cannot be shown"),
        ({"comment": "half \ud800"}, "cannot be shown"),
        ({"follows": ["0" * 32]}, "there is no review '000"),
        ({"follows": ["x'; DROP TABLE reviews"]}, "is not the id of a review"),
        ({"id": "short"}, "is not the id of a review"),
    ],
)
def test_what_a_review_may_not_be(index, changed, said):
    with pytest.raises(InputError, match=said) as caught:
        record(index, LIGAND, **{"verdict": "hold", "reviewer": "ada"} | changed)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert history(index, LIGAND).entries == ()


@pytest.mark.parametrize(
    "values",
    [("quick", "estradiol"), ("quick", APO), ("", ESTRADIOL), ("quick", ESTRADIOL, "WT"), ("quick", None),
     ("a\nb", ESTRADIOL), ("quick", ESTRADIOL, "", "agonist"), ("x" * 201, ESTRADIOL)],
)  # fmt: skip
def test_what_is_no_subject(values):
    with pytest.raises(InputError):
        Subject(*values)


def test_markup_and_other_scripts_are_kept_as_they_are(index):
    comment = "<script>alert('1')</script> 雌二醇 ' OR 1=1 --\n\tβ"
    record(index, LIGAND, "hold", reviewer="Łukasz", comment=comment)
    (entry,) = history(index, LIGAND).entries
    assert (entry.comment, entry.reviewer) == (comment, "Łukasz")


# -- export and import -----------------------------------------------------------------------------------------


def test_reviews_go_from_one_index_to_another_once(index, other_index):
    first = record(index, LIGAND, "hold", reviewer="ada", comment="zwei\nZeilen ü")
    second = record(index, LIGAND, "reject", reviewer="bob", follows=[first.id])
    undo(index, second, reviewer="ada")
    record(index, CELL, "advance", reviewer="ada")
    record(index, Subject("other", ESTRADIOL), "hold", reviewer="ada")
    lines = list(export_lines(index))
    assert len(lines) == 5 and all("\n" not in line for line in lines)
    assert json.loads(lines[0])["kind"] == "ligand" and "store" not in json.loads(lines[0])
    assert len(list(export_lines(index, "other"))) == 1
    assert import_lines(other_index, lines) == (5, 0)
    assert import_lines(other_index, ["", *lines[:2], "\n"]) == (0, 2)
    assert list(export_lines(other_index)) == lines
    assert history(other_index, LIGAND).entries == history(index, LIGAND).entries
    assert history(other_index, LIGAND).current == (first,)


def test_reviews_of_two_stores_that_are_merged_conflict(index, other_index):
    one = record(index, LIGAND, "advance", reviewer="ada")
    other = record(other_index, LIGAND, "reject", reviewer="bob")
    assert import_lines(index, export_lines(other_index)) == (1, 0)
    assert set(history(index, LIGAND).current) == {one, other}


def test_a_wrong_line_changes_nothing(index, other_index):
    record(index, LIGAND, "hold", reviewer="ada")
    (good,) = export_lines(index)
    entry = json.loads(good)
    for line, said in [
        ("{", "line 2: is not a review"),
        ("[]", "line 2: is not a review"),
        (json.dumps({**entry, "verdict": "sure"}), "line 2: review: unknown verdict"),
        (json.dumps({**entry, "kind": "cell"}), "line 2: review: a ligand is called 'cell'"),
        (json.dumps({**entry, "follows": "x"}), "line 2: review: 'follows' is not a list"),
        (json.dumps({**entry, "created": "yesterday"}), "line 2: review: 'yesterday' is not a time"),
        (json.dumps({**entry, "comment": "y" * 10**7}), "line 2: review, comment: has 10,000,000 characters"),
        (json.dumps({**entry, "reviewer": "eve"}), "line 2: review '.*' comes twice, differently"),
        ("[" * 100_000, "line 2: is not a review"),
    ]:
        with pytest.raises(InputError, match=said) as caught:
            import_lines(other_index, [good, line], "team.jsonl")
        assert str(caught.value).startswith("team.jsonl") and len(str(caught.value)) < 300
        assert list(export_lines(other_index)) == []
    with pytest.raises(InputError, match="is there already, with another content"):
        import_lines(index, [json.dumps({**entry, "verdict": "reject"})])
    assert list(export_lines(index)) == [good]


# -- any history, however it came to be ------------------------------------------------------------------------


@st.composite
def any_entries(draw) -> list[Review]:
    """Up to eight entries with links of any kind between them, circles and missing ones included."""
    names = [f"{number:032x}" for number in range(draw(st.integers(0, 8)))]
    entries = []
    for name in names:
        undoes = draw(st.none() | st.sampled_from(names))
        follows = draw(st.lists(st.sampled_from([*names, "f" * 32]), max_size=3, unique=True))
        created = f"2024-01-0{draw(st.integers(1, 9))}T00:00:00+00:00"
        entries.append(Review(name, LIGAND, None if undoes else "hold", undoes, "", "ada", created, tuple(follows)))
    return entries


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_entries(), st.randoms())
def test_any_history_is_shown_whole_and_the_same_in_every_order(entries, random):
    found = History(entries)
    shuffled = list(entries)
    random.shuffle(shuffled)
    again = History(shuffled)
    assert sorted(e.id for e in found.entries) == sorted(e.id for e in entries)
    assert (found.entries, found.heads, found.current) == (again.entries, again.heads, again.current)
    assert all(entry.verdict for entry in found.current)
    place = {entry.id: number for number, entry in enumerate(found.entries)}
    if all(place.get(f, -1) < place[e.id] for e in entries for f in e.follows):
        assert not entries or found.heads, "without circles something is the newest"


def test_a_long_history_takes_no_time():
    entries = [Review(f"{n:032x}", LIGAND, "hold", None, "", "ada", "2024-01-01T00:00:00+00:00",
                      (f"{n - 1:032x}",) if n else ()) for n in range(5000)]  # fmt: skip
    assert History(entries).current == (entries[-1],) and History(entries).entries == tuple(entries)
