"""Tables of measured affinities: what a column holds is known or asked for, and no row is lost without a word."""

from __future__ import annotations

import math

import pytest

from esr1md.errors import InputError
from esr1md.ligand.affinity_table import kind_of, read_table
from esr1md.series.compounds import compounds_of, state_penalty


@pytest.fixture
def table(tmp_path):
    def make(text: str, **options):
        path = tmp_path / "series.csv"
        path.write_text(text, encoding="utf-8")
        return read_table(path, **options)

    return make


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("exp_dG_kcal_mol", "dG"), ("dG", "dG"), ("deltaG", "dG"), ("ΔG (kJ/mol)", "dG-kJ"), ("pIC50", "pK"),
        ("pKi", "pK"), ("pchembl_value", "pK"), ("Ki (nM)", "nM"), ("IC50_uM", "uM"), ("IC50 [µM]", "uM"),
        ("value_nM", "nM"), ("Ki", None), ("activity", None), ("diagram", None), ("kcal/mol", "dG"),
    ],
)  # fmt: skip
def test_what_a_heading_says(heading, kind):
    assert kind_of(heading) == kind


@pytest.mark.parametrize(
    ("heading", "kind", "cell"),
    [("dG", None, "-12.277"), ("pKi", None, "9"), ("Ki_nM", None, "1"), ("Ki", "uM", "0.001"), ("value", "M", "1e-9"),
     ("dG", "dG-kJ", "-51.37")],
)  # fmt: skip
def test_every_kind_becomes_a_free_energy(table, heading, kind, cell):
    """A nanomolar constant is -12.28 kcal/mol at 298.15 K."""
    read = table(f"smiles,{heading}\nCCO,{cell}\n", value_kind=kind)
    assert read.rows[0].dg_kcal == pytest.approx(-12.277, abs=0.01)
    assert kind or "Measured: column" in read.notes[0]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("smiles,Ki\nCCO,5\n", {}, "says that it holds a measured affinity"),
        ("smiles,Ki\nCCO,5\n", {"value_column": "Ki"}, "not clear from its name"),
        ("smiles,pKi,pIC50\nCCO,5,6\n", {}, "several columns may hold the measured value: 'pKi', 'pIC50'"),
        ("smiles,pKi\nCCO,5\n", {"value_column": "pKd"}, "no column 'pKd'"),
        ("smiles,pKi\nCCO,5\n", {"value_kind": "nm"}, "did you mean 'nM'"),
        ("compound,pKi\nx,5\n", {}, "no column of SMILES"),
        ("smiles,pKi\nCCO,\n", {}, "no row with a SMILES and a value (no value on line 2"),
        ("smiles,pKi\nCCO,5\n", {"only": ["assay=3"]}, "no column 'assay'"),
        ("smiles,pKi\nCCO,5\n", {"only": ["pKi"]}, "is no condition"),
        ("smiles,dG\nCCO,7.2\nCCC,8\n", {}, "say what the numbers are with --value-kind"),
        ("smiles,pKi\nCCO,5\n", {"beside": ["fep"]}, "no column 'fep'"),
        ("smiles\nCCO\n", {}, "only one column"),
        ("\n \n", {}, "is empty"),
    ],
)
def test_what_is_not_clear_is_refused(table, text, options, message):
    with pytest.raises(InputError) as error:
        table(text, **options)
    assert message in str(error.value)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "nowhere.csv")
    (tmp_path / "binary.csv").write_bytes(b"smiles\0pKi")
    with pytest.raises(InputError, match="not a text file"):
        read_table(tmp_path / "binary.csv")


def test_rows_that_cannot_be_used_are_named(table):
    read = table(
        "name;smiles;standard_relation;Ki_nM;units;assay;guess\n"
        "good;CCO;=;5;nM;A;-8.5\n"
        "censored;CCC;>;1000;nM;A;\n"
        "also;CCN;;<1;nM;A;1\n"
        "missing;CCCl;=;;nM;A;1\n"
        "words;CCBr;=;high;nM;A;1\n"
        "zero;CCF;=;0;nM;A;1\n"
        "unit;CCI;=;5;ug.mL-1;A;1\n"
        "nothing;;=;5;nM;A;1\n"
        "alone;CCS;=;5;nM;;1\n"
        "short;CCS\n",
        group_column="assay",
        beside=["guess"],
    )
    assert [(row.name, row.line, row.series, row.beside) for row in read.rows] == [("good", 2, "A", {"guess": -8.5})]
    reasons = {row.name: row.reason for row in read.left_out}
    assert "censored" in reasons["censored"] and "censored" in reasons["also"]
    assert reasons["missing"] == reasons["short"] == "no value"
    assert "'high' is no number" in reasons["words"] and "0 nM" in reasons["zero"]
    assert "ug.mL-1" in reasons["unit"] and reasons["nothing"] == "no SMILES" and "group column" in reasons["alone"]


def test_a_measured_column_beside_a_prediction_is_told_by_its_name(table):
    read = table("smiles,fep_dG,exp_dG\nCCO,-1,-9\n")
    assert read.rows[0].dg_kcal == -9.0


def test_an_unused_assay_column_is_said(table):
    text = "smiles,pKi,assay\nCCO,5,1\nCCC,6,2\n"
    assert any("'assay' is not used" in note for note in table(text).notes)
    assert not any("not used" in note for note in table(text, group_column="assay").notes)
    assert len(table(text, only=["assay=2"]).rows) == 1


def test_compounds_are_merged_by_structure_within_a_series(table):
    """A salt and the free base are one compound; the same in another assay is another; nothing bad stops the rest."""
    read = table(
        "name,smiles,pKi,assay\n"
        "a,CCN(CC)CCOc1ccccc1,5,1\n"
        "a hydrochloride,CCN(CC)CCOc1ccccc1.Cl,7,1\n"
        "a,CCN(CC)CCOc1ccccc1,5,2\n"
        "bad,C1CC,5,1\n"
        "metal,[Na+].[Cl-],5,1\n",
        group_column="assay",
    )
    compounds, refused = compounds_of(read.rows)
    assert [(c.series, c.lines) for c in compounds] == [("1", (2, 3)), ("2", (4,))]
    assert compounds[0].dg_kcal == pytest.approx(-1.3642 * 6, abs=0.01)
    assert "Measured 2 times, 2.73 kcal/mol apart" in compounds[0].notes[-1]
    assert {row.name for row in refused} == {"bad", "metal"}
    assert compounds[0].name != compounds[1].name  # tables and folders tell them apart


def test_every_form_that_counts_is_computed(table):
    """An ortho-cyanophenol is half ionised; an open double bond is two isomers."""
    rows = table("smiles,pKi\nCOc1cc(O)c(C#N)c2cc(-c3ccc(O)cc3)oc12,5\nCC(F)=C(Cl)c1ccc(O)cc1,5\n").rows
    acid, alkene = compounds_of(rows)[0]
    assert sorted(form.ligand.formal_charge for form in acid.forms) == [-1, 0]
    assert all(form.share >= 0.1 for form in acid.forms) and sum(form.share for form in acid.forms) <= 1.0 + 1e-9
    assert len({form.ligand.name for form in acid.forms}) == 2
    assert {form.isomer for form in alkene.forms} == {"E", "Z"}
    assert state_penalty(1.0) == 0 and state_penalty(0.1) == pytest.approx(1.364, abs=0.01)
    assert math.isclose(acid.nulls["heavy atoms"], 21)
