"""Tables of affinities: offsets, bounds, duplicates, and every way in which they can be unusable."""

from __future__ import annotations

import numpy as np
import pytest

from esr1md.errors import InputError
from esr1md.surrogate.data import assay_offsets, read_affinities

ESTRADIOL = "C[C@]12CC[C@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O"


def write(path, text):
    path.write_text(text)
    return path


def chain(n: int) -> str:
    return "C" * n + "c1ccc(O)cc1"


def table(path, rows, header="smiles,pchembl_value,standard_relation,assay_chembl_id"):
    return write(path, "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def test_offsets_are_found_where_assays_share_compounds_and_zero_where_none():
    generator = np.random.default_rng(0)
    truth = {"A": 0.0, "B": 1.0, "C": -0.6, "alone": 2.0}
    rows = [(f"m{i}", assay, 7 + 0.1 * i + truth[assay] + generator.normal(0, 0.05))
            for i in range(30) for assay in ("A", "B", "C")]  # fmt: skip
    rows += [(f"x{i}", "alone", 9.0 + i) for i in range(10)]
    found = assay_offsets(rows)
    assert found["B"] - found["A"] == pytest.approx(1.0, abs=0.1)
    assert found["C"] - found["A"] == pytest.approx(-0.6, abs=0.1)
    assert found["alone"] == pytest.approx(0.0, abs=1e-6)
    # one shared compound is weak evidence: the offset is pulled towards zero
    weak = assay_offsets([("m", "A", 6.0), ("m", "B", 8.0)])
    assert 0 < weak["B"] - weak["A"] < 2.0


def test_compounds_are_merged_by_structure_not_by_how_they_are_drawn(tmp_path):
    rows = [(ESTRADIOL, 9.0, "=", "A"), (ESTRADIOL, 9.4, "=", "A"), ("CCN(CC)CCOc1ccccc1.Cl", 6.0, "=", "A"),
            ("CC[NH+](CC)CCOc1ccccc1", 6.2, "=", "A")]  # fmt: skip
    rows += [(chain(i), 5 + 0.1 * i, "=", "A") for i in range(1, 4)]
    data = read_affinities(table(tmp_path / "t.csv", rows), fewest=2)
    assert len(data) == 5 and sorted(data.values[data.weights == 2]) == pytest.approx([6.1, 9.2])
    assert all("+" not in smiles and "." not in smiles for smiles in data.smiles)
    assert list(data.inchikeys) == sorted(data.inchikeys)


@pytest.mark.parametrize(
    ("header", "value", "relation", "bound"),
    [
        ("smiles,pchembl_value,standard_relation", "6.0", "<", 1),  # IC50 < 1 uM: pChEMBL at least 6
        ("smiles,pchembl_value,standard_relation", "5.0", "'>'", -1),
        ("smiles,pKi,relation", "5.0", "<", -1),  # pKi < 5
        ("smiles,pKi,other", ">9", "", 1),
        ("smiles,Ki_nM,relation", "10000", ">", -1),
        ("smiles,Ki_nM,other", "<0.1", "", 1),
    ],
)
def test_bounds_stay_bounds_on_the_right_side(tmp_path, header, value, relation, bound):
    nanomolar = "nM" in header
    rows = [(chain(i), 10.0 ** (4 - i) if nanomolar else 5 + i, "=") for i in range(1, 4)]
    data = read_affinities(table(tmp_path / "t.csv", [*rows, (ESTRADIOL, value, relation)], header), fewest=2)
    assert sorted(data.bounds) == sorted([0, 0, 0, bound])


def test_a_measured_value_wins_over_bounds_and_contradicting_bounds_are_left_out(tmp_path):
    rows = [(chain(1), 6.0, "=", ""), (chain(1), 5.0, ">", ""), (chain(2), 5.0, ">", ""), (chain(2), 5.5, ">", ""),
            (chain(3), 6.0, "<", ""), (chain(3), 5.0, ">", ""), (chain(4), 7.0, "=", "")]  # fmt: skip
    data = read_affinities(table(tmp_path / "t.csv", rows), fewest=2)
    by_smiles = dict(zip(data.smiles, zip(data.values, data.bounds, strict=True), strict=True))
    assert sorted(round(float(v), 2) for v, _ in by_smiles.values()) == [5.0, 6.0, 7.0]
    assert [bound for value, bound in by_smiles.values() if value == 5.0] == [-1]  # the tighter of two upper bounds
    assert any("from both sides" in row.reason for row in data.left_out)


def test_unusable_rows_cost_only_themselves_and_say_why(tmp_path):
    rows = [(chain(i), 5 + 0.1 * i, "=", "A") for i in range(1, 6)]
    rows += [("c1cc", 6, "=", "A"), (chain(7), "nan", "=", "A"), (chain(8), "inf", "=", "A"), (chain(9), "", "=", "A"),
             (chain(10), "six", "=", "A"), ("C[Pt]C", 6, "=", "A"), (chain(11), 99, "=", "A"),
             ("*CC", 6, "=", "A")]  # fmt: skip
    data = read_affinities(table(tmp_path / "t.csv", rows), fewest=2)
    reasons = " | ".join(row.reason for row in data.left_out)
    assert len(data) == 5 and len(data.left_out) == 8
    for said in ("cannot be parsed", "'nan' is no number", "'inf' is no number", "no value", "'six' is no number",
                 "compound of Pt", "pChEMBL 99", "dummy atom"):  # fmt: skip
        assert said in reasons, said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("smiles,pchembl_value\n", "no row with a SMILES and a value"),
        (f"smiles,pchembl_value\n{ESTRADIOL},9\n", "1 compounds with an affinity are too few"),
        ("smiles,pchembl_value\n" + "".join(f"{chain(i)},7.5\n" for i in range(1, 90)), "all compounds have the affin"),
        ("smiles,pchembl_value\n" + "".join(f"{chain(i)},nan\n" for i in range(1, 9)), "no row with a SMILES and a v"),
        ("smiles,activity\n" + "".join(f"{chain(i)},{i}\n" for i in range(1, 9)), "that it holds a measured affinity"),
    ],
)  # fmt: skip
def test_tables_that_teach_nothing_are_refused_in_a_line(tmp_path, text, words):
    with pytest.raises(InputError, match=words) as error:
        read_affinities(write(tmp_path / "t.csv", text))
    assert "\n" not in str(error.value) and "t.csv" in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_affinities(tmp_path / "none.csv")


def test_the_open_table_is_read_without_being_told_its_columns(shared_data):
    data = read_affinities(shared_data / "affinity/chembl_esr1_max_pchembl_labels.csv")
    assert len(data) > 3600 and 4 <= data.values.min() and data.values.max() <= 11
    assert len(set(data.inchikeys)) == len(data)
    assert any("esr1_binding_max_pchembl" in note for note in data.notes)


def test_offsets_of_the_open_assays_make_repeats_agree_better(shared_data):
    path = shared_data / "affinity/chembl206_ic50_single_protein_raw.csv"
    data = read_affinities(path, value_column="pchembl_value")
    assert len(data.offsets) > 100 and np.abs(list(data.offsets.values())).max() > 0.5
    import pandas

    rows = pandas.read_csv(path).dropna(subset=["pchembl_value"])
    rows["without"] = rows["pchembl_value"] - rows["assay_chembl_id"].map(data.offsets)
    within = rows.groupby("molecule_chembl_id")[["pchembl_value", "without"]].var(ddof=1).dropna().mean()
    assert within["without"] < 0.6 * within["pchembl_value"]
