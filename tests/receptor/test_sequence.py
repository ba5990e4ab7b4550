"""P03372, mutation notation and alignment."""

from __future__ import annotations

import pickle

import pytest

from esr1md.errors import InputError
from esr1md.receptor.sequence import P03372, align_to_p03372, parse_variant, wild_type_residue
from esr1md.specs import WILD_TYPE, Mutation, Variant


def test_p03372_holds_the_residues_the_literature_names():
    assert len(P03372) == 595
    named = "K303 E353 R394 D351 E380 G400 F404 V422 S463 H524 L536 Y537 D538 L540 E542"
    for residue in named.split():
        assert wild_type_residue(int(residue[1:])) == residue[0]


@pytest.mark.parametrize("text", ["WT", "wt", " WT ", "wild type"])
def test_wild_type(text):
    assert parse_variant(text) == WILD_TYPE


@pytest.mark.parametrize("text", ["Y537S", "p.Y537S", "P.Y537S", "p.Tyr537Ser", "tyr537ser", "y537s", " Y537S "])
def test_one_variant_many_spellings(text):
    assert parse_variant(text) == Variant((Mutation(537, "Y", "S"),))


def test_deletion_and_combination_are_ordered_by_position():
    assert parse_variant("p.Val422del").name == "V422del"
    assert parse_variant("D538G+F404L") == parse_variant("F404L + p.Asp538Gly")
    assert parse_variant("D538G+F404L").name == "F404L+D538G"
    assert parse_variant(parse_variant("D538G+F404L").name).name == "F404L+D538G"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Y538S",
            "wrong wild-type residue in 'Y538S': 538 is Asp (D) in P03372; did you mean D538S, or Y537S?",
        ),
        ("G538D", "wrong wild-type residue in 'G538D': 538 is Asp (D) in P03372; did you mean D538G"),
        (
            "K303R",
            "residue 303 of 'K303R' is outside the ligand-binding domain; expected a position from 305",
        ),
        ("T594A", "outside the ligand-binding domain"),
        ("Y537X", "unknown residue 'X' in 'Y537X'"),
        ("p.Tyr537Foo", "unknown residue 'Foo'"),
        ("Y537Y", "synonymous"),
        ("Y537=", "synonymous"),
        ("Y537*", "stop codon"),
        ("Y537S+Y537N", "residue 537 is mutated twice in 'Y537S+Y537N'"),
        ("Y537S+Y537S", "residue 537 is mutated twice"),
        ("WT+Y537S", "'WT' cannot be combined"),
        ("Y537S+", "cannot read variant '' in 'Y537S+'"),
        ("", "cannot read variant ''"),
        ("hello", "cannot read variant 'hello'"),
        ("537S", "cannot read variant '537S'"),
    ],
)
def test_bad_notation_is_explained_in_one_line(text, message):
    with pytest.raises(InputError) as caught:
        parse_variant(text, "screen.yaml: line 7")
    assert message in str(caught.value)
    assert str(caught.value).startswith("screen.yaml: line 7: ")
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_suggested_variant_can_be_parsed():
    with pytest.raises(InputError) as caught:
        parse_variant("Y538S")
    for suggestion in ("D538S", "Y537S"):
        assert suggestion in str(caught.value)
        assert parse_variant(suggestion).name == suggestion


def test_alignment_numbers_a_gapped_mutant_with_a_tag():
    first, second = P03372[304:330], P03372[336:536] + "S" + P03372[537:550]
    alignment = align_to_p03372("GSHHHHHH" + first + second, breaks={8 + len(first)})
    assert alignment.numbers[8] == 305
    assert alignment.numbers[8 + len(first) - 1] == 330
    assert alignment.numbers[8 + len(first)] == 337
    assert alignment.numbers[-1] == 550
    assert 95 < alignment.identity < 100


def test_an_unrelated_protein_is_far_below_the_identity_limit():
    lysozyme = (
        "KVFGRCELAAAMKRHGLDNYRGYSLGNWVCAAKFESNFNTQATNRNTDGSTDYGILQINSRWWCNDGRTPGSRNLCNIPC"
        "SALLSSDITASVNCAKKIVSDGNGMNAWVAWRNRCKGTDVQAWIRGCRL"
    )
    assert align_to_p03372(lysozyme).identity < 50


def test_an_empty_sequence_is_a_programming_error():
    with pytest.raises(ValueError, match="empty"):
        align_to_p03372("")
