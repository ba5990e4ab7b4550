"""Whatever a user hands over: read, or refused with one clear reason; never a crash, never silence."""

from __future__ import annotations

import gzip
import io
import zlib

import pyarrow
import pytest
from pyarrow import parquet
from rdkit import Chem
from rdkit.Chem import AllChem

from esr1md.errors import InputError
from esr1md.ligand import inputs
from esr1md.ligand.inputs import open_input
from esr1md.ligand.molecules import clean_name, molecule_of, table_cell
from esr1md.ligand.states import prepare_compound

# -- 50 odd molecules as SMILES ---------------------------------------------------------------------------

#: SMILES and what is said of it.
ODD_SMILES = {
    "empty": ("", "empty SMILES"),
    "spaces": ("   ", "empty SMILES"),
    "unclosed ring": ("c1ccccc", "cannot be parsed"),
    "unclosed bracket": ("C[NH3+", "cannot be parsed"),
    "unclosed branch": ("CC(C", "cannot be parsed"),
    "extra branch": ("CC)C", "cannot be parsed"),
    "five bonds on carbon": ("CC(C)(C)(C)C", "valence"),
    "four bonds on neutral nitrogen": ("CN(C)(C)C", "valence"),
    "three bonds on oxygen": ("CO(C)C", "valence"),
    "two bonds on fluorine": ("CFC", "valence"),
    "not kekulizable": ("c1ccncn1c", "cannot be parsed"),
    "aromatic five-ring without hydrogen": ("c1cccn1", "kekulize"),
    "unknown element": ("CQC", "cannot be parsed"),
    "words": ("ethanol", "cannot be parsed"),
    "a number": ("42.5", "cannot be parsed"),
    "InChI": ("InChI=1S/C2H6O/c1-2-3/h3H,2H2,1H3", "cannot be parsed"),
    "InChIKey": ("LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "cannot be parsed"),
    "ring closed on itself": ("C11CC", "cannot be parsed"),
    "ring number twice": ("C1CC1C1", "cannot be parsed"),
    "letters beyond ASCII": ("CC\u041e", "holds the character"),  # a Cyrillic O
    "full-width letters": ("\uff23\uff23\uff2f", "holds the character"),
    "emoji": ("CC\U0001f4a5", "holds the character"),
    "NUL": ("CC\x00O", "cannot be parsed|has no atoms"),
    "reaction": ("CCO>>CC=O", "is a reaction"),
    "reaction with agent": ("CCO>[Pd]>CC=O", "is a reaction"),
    "dummy atom": ("*CCO", "atom 1 is a dummy or query atom"),
    "attachment point": ("[R1]CCO", "cannot be parsed|dummy"),
    "numbered attachment point": ("[1*]CCO", "dummy or query atom"),
    "SMARTS": ("[C,N]CCO", "cannot be parsed"),
    "SMARTS with a query that parses": ("[#6]~CO", "is a query bond"),
    "polymer": ("CC(C)C |Sg:n:1:n:ht|", "a polymer"),
    "text behind": ("CCO ethanol", "text after the SMILES"),
    "broken extension": ("CCO |&1:1", "text after the SMILES"),
    "two real molecules": ("c1ccccc1CCN.c1ccncc1CCO", "a mixture of"),
    "three real molecules": ("CCCCN1CCCC1.OCCc1ccccc1.CCCCS", "a mixture of"),
    "racemate drawn as two": ("C[C@H](N)c1ccccc1.C[C@@H](N)c1ccccc1", "a mixture of 2 stereoisomers"),
    "salt of metals only": ("[Na+].[Cl-]", "no organic compound, only sodium, chloride"),
    "water": ("O", "no carbon atom"),
    "hydrogen": ("[H][H]", "no carbon atom"),
    "a lone proton": ("[H+]", "no carbon atom"),
    "noble gas": ("[He]", "no carbon|no atom type"),
    "ferrocene": ("[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1", r"is a metal \(Fe\)"),
    "cisplatin": ("N[Pt](N)(Cl)Cl", r"is a metal \(Pt\)"),
    "auranofin-like": ("CCP(CC)(CC)=[Au]SC", r"is a metal \(Au\)"),
    "Grignard reagent": ("CC[Mg]Br", r"is a metal \(Mg\)"),
    "organotin": ("CCCC[Sn](C)(C)C", r"is a metal \(Sn\)"),
    "carbon radical": ("C[CH]C", "is a radical"),
    "nitroxyl radical": ("CC1(C)CCCC(C)(C)N1[O]", "is a radical"),
    "carbene": ("C[C]C", "is a radical"),
    "triplet oxygen": ("[O][O]", "radical|no carbon"),
    "deuterated": ("[2H]C([2H])([2H])Oc1ccccc1", "carries the isotope label 2"),
    "carbon-14": ("[14CH3]CO", "carries the isotope label 14"),
    "tritium and fluorine-18": ("[18F]CCO[3H]", "isotope label"),
    "boronic acid": ("OB(O)c1ccccc1", "is B, for which GAFF2 has no atom type"),
    "silane": ("C[Si](C)(C)CCO", "is Si, for which GAFF2 has no atom type"),
    "selenium": ("C[Se]CCO", "is Se, for which GAFF2 has no atom type"),
    "arsenic": ("C[As](C)C", "is As, for which GAFF2 has no atom type"),
    "carborane-like": ("BC(B)B", "is B, for which"),
    "sulfur hexafluoride group": ("FS(F)(F)(F)(F)c1ccccc1", "S with 6 neighbours"),
    "phosphorane": ("CP(C)(C)(C)C", "P with 5 neighbours"),
    "200 carbons": ("C" * 200, "200 heavy atoms; expected at most 150"),
    "a protein": ("NCC(=O)" * 60 + "O", "heavy atoms"),
    "100,001 characters": ("C" * 100_001, "a SMILES of 100001 characters"),
    "10,000 brackets": ("(" * 10_000, "cannot be parsed"),
    "10,000 nested branches": ("C(" * 10_000 + "C" + ")" * 10_000, "cannot be parsed|heavy atoms"),
    "shell": ("$(rm -rf /)", "text after the SMILES"),
    "SQL": ("'; drop table rows; --", "cannot be parsed|text after"),
    "formula": ("=cmd|' /C calc'!A0", "cannot be parsed|text after"),
    "HTML": ("<script>alert(1)</script>", "cannot be parsed|is a reaction"),
    "path": ("../../etc/passwd", "cannot be parsed"),
    "format string": ("%s%n{0}", "cannot be parsed"),
}


@pytest.mark.parametrize("case", ODD_SMILES)
def test_odd_smiles_have_one_clear_reason(case, capfd):
    smiles, says = ODD_SMILES[case]
    row = inputs.InputRow(1, 1, "mine", smiles, "smiles")
    with pytest.raises(InputError, match=says) as caught:
        prepare_compound("mine", molecule_of(row, "lib.smi:1"), where="lib.smi:1")
    message = str(caught.value)
    assert message.startswith("lib.smi:1: ") and "\n" not in message and len(message) < 1000
    out, err = capfd.readouterr()
    assert out == "" and err == ""  # RDKit's own log says it twice and worse


#: Odd, but all right.
FINE_SMILES = {
    "explicit hydrogens": "[H]OC([H])([H])C([H])([H])[H]",
    "atom maps": "[CH3:1][CH2:2][OH:3]",
    "pentavalent nitro": "CN(=O)=O",
    "azide": "CCN=[N+]=[N-]",
    "N-oxide": "[O-][n+]1ccccc1",
    "zwitterion": "[NH3+]CC(=O)[O-]",
    "quaternary ammonium": "C[N+](C)(C)CCO",
    "phosphonium": "C[P+](C)(C)CCO",
    "ylide": "C[S+](C)[CH-]C(C)=O",
    "isocyanide": "[C-]#[N+]CC",
    "macrocycle": "C1" + "C" * 18 + "C(=O)O1",
    "cage": "C1C2CC3CC1CC(C2)C3",
    "cubane": "C12C3C4C1C5C2C3C45",
    "allene with stereo": "CC=C=CC",
    "biaryl": "Cc1cccc(C)c1-c1c(C)cccc1C",
    "sulfonium": "C[S+](C)CCO",
    "iodo": "Ic1ccccc1O",
    "two-digit rings": "C%10CCCCC%10O",
    "dative bond to nothing odd": "CC(=O)O[Na]",
    "aromatic selenium-free thiophene": "c1ccsc1O",
    "enhanced stereo": "C[C@H](F)Cl |&1:1|",
    "coordinates in the extension": "CCO |(0,0,;1,0,;2,0,)|",
}


@pytest.mark.parametrize("case", FINE_SMILES)
def test_unusual_but_sound_molecules_are_prepared(case):
    row = inputs.InputRow(1, 1, "mine", FINE_SMILES[case], "smiles")
    found = prepare_compound("mine", molecule_of(row))
    assert found.ligands
    for each in found.ligands:
        assert Chem.CanonSmiles(each.ligand.smiles) == each.ligand.smiles and "." not in each.ligand.smiles


# -- odd SDF records --------------------------------------------------------------------------------------


def block(smiles: str, three_d: bool = False, title: str = "mine") -> str:
    mol = Chem.MolFromSmiles(smiles)
    if three_d:
        mol = Chem.AddHs(mol)
        assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    else:
        AllChem.Compute2DCoords(mol)
    mol.SetProp("_Name", title)
    return Chem.MolToMolBlock(mol)


def with_wedges(text: str, wedges: dict[int, int]) -> str:
    """The record with the stereo column of some bonds (counted from 0) changed."""
    lines = text.splitlines()
    atoms = int(lines[3][:3])
    for bond, stereo in wedges.items():
        line = lines[4 + atoms + bond]
        lines[4 + atoms + bond] = f"{line[:9]}{stereo:3d}"
    return "\n".join(lines) + "\n"


GOOD = block("CCO")
ODD_RECORDS = {
    "no M  END": (GOOD.replace("M  END\n", ""), "no 'M END' line"),
    "cut in the middle": ("\n".join(GOOD.splitlines()[:5]) + "\n", "no 'M END' line"),
    "only a title": ("mine\n", "no 'M END' line"),
    "counts line broken": (GOOD.replace("V2000", "V9999"), "cannot be read"),
    "more atoms promised than given": (GOOD.replace("  3  2  0", "  9  2  0"), "cannot be read"),
    "bond to an atom that is not there": (GOOD.replace("  2  3  1", "  2  9  1"), "cannot be read"),
    "letters for coordinates": (GOOD.replace("0.0000", "abcdef", 1), "cannot be read"),
    "unknown element": (GOOD.replace(" O ", " Xx"), "cannot be read|dummy|query"),
    "bond to itself": (GOOD.replace("  2  3  1", "  3  3  1"), "cannot be read"),
    "wrong valence": (GOOD.replace("  1  2  1", "  1  2  3").replace("  2  3  1", "  2  3  3"), "valence"),
    "R-group": (GOOD.replace(" O ", " R#"), "dummy or query"),
    "any atom": (GOOD.replace(" C ", " A ", 1), "dummy or query"),
    "query bond": (GOOD.replace("  1  2  1", "  1  2  8"), "is a query bond"),
    "no atoms": ("mine\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n", "has no atoms"),
    "a reaction": ("$RXN\n\n\n\n  1  1\n$MOL\n" + GOOD, "is a reaction"),
    "V3000 header on V2000": (GOOD.replace("V2000", "V3000"), "cannot be read"),
    "a polymer": (
        GOOD.replace("M  END", "M  STY  1   1 SRU\nM  SAL   1  2   1   2\nM  SMT   1 n\nM  END"), "a polymer"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD_RECORDS)
def test_odd_sdf_records_have_one_clear_reason(case, tmp_path, capfd):
    text, says = ODD_RECORDS[case]
    path = tmp_path / "odd.sdf"
    path.write_text(text + "$$$$\n" + GOOD + "$$$$\n")
    with open_input(path) as rows:
        odd, good = rows
    with pytest.raises(InputError, match=says) as caught:
        prepare_compound(odd.name, molecule_of(odd, "odd.sdf:1"), where="odd.sdf:1")
    assert "\n" not in str(caught.value)
    assert Chem.MolToSmiles(molecule_of(good)) == "CCO"
    assert capfd.readouterr().err == ""


def test_wedges_of_a_flat_drawing():
    right = block("C[C@H](F)c1ccccc1")
    row = inputs.InputRow(1, 1, "mine", right, "sdf")
    assert len(prepare_compound("mine", molecule_of(row)).ligands) == 1
    for wrong in (with_wedges(right, {0: 0, 1: 0, 2: 0}), with_wedges(right, {0: 4, 1: 4, 2: 4})):
        found = prepare_compound("mine", molecule_of(inputs.InputRow(1, 1, "mine", wrong, "sdf")))
        assert {each.label for each in found.ligands} == {"R", "S"}  # no wedge, or a wavy one: both are made


def test_a_wedge_where_there_is_no_stereocentre_changes_nothing():
    text = with_wedges(block("CCO"), {0: 1, 1: 6})
    found = prepare_compound("mine", molecule_of(inputs.InputRow(1, 1, "mine", text, "sdf")))
    assert [each.ligand.smiles for each in found.ligands] == ["CCO"]


def test_stereochemistry_of_a_3d_record_is_that_of_its_coordinates(tmp_path):
    path = tmp_path / "two.sdf"
    path.write_text(block("C[C@H](F)Cl", True) + "$$$$\n" + block("C/C=C/Cl", True) + "$$$$\n")
    with open_input(path) as rows:
        found = [Chem.MolToSmiles(Chem.RemoveHs(molecule_of(row))) for row in rows]
    assert found == [Chem.CanonSmiles("C[C@H](F)Cl"), "C/C=C/Cl"]


# -- files ------------------------------------------------------------------------------------------------


def rows_of(path, **options):
    with open_input(path, **options) as rows:
        return list(rows)


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_every_format_gives_the_same_rows(tmp_path):
    sdf = "".join(block(s, title=n) + "$$$$\n" for s, n in (("CCO", "one"), ("CCN", "two")))
    files = {
        "a.smi": "CCO one\nCCN\ttwo\n", "b.smiles": "smiles name\nCCO one\n\n# a remark\nCCN two",
        "a.csv": "name,SMILES\none,CCO\ntwo,CCN\n", "b.csv": 'ID;canonical_smiles\n"one";CCO\n"two";CCN\n',
        "a.tsv": "Canonical SMILES\tCompound Name\nCCO\tone\nCCN\ttwo\n", "a.sdf": sdf, "nothing": "CCO one\nCCN two\n",
        "table": "id|smiles\none|CCO\ntwo|CCN\n", "records": sdf,
    }  # fmt: skip
    for name, text in files.items():
        for end in ("\n", "\r\n"):
            plain = write(tmp_path / name, text.replace("\n", end))
            packed = write(tmp_path / f"{name}.gz", gzip.compress(text.replace("\n", end).encode()))
            for path in (plain, packed):
                rows = rows_of(path)
                assert [(row.number, row.name) for row in rows] == [(1, "one"), (2, "two")], path
                assert [Chem.MolToSmiles(molecule_of(row)) for row in rows] == ["CCO", "CCN"], path


def parquet_file(path, **columns):
    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    return path


def test_parquet_gives_the_same_rows(tmp_path):
    smiles, names = ["CCO", None, "CCN"], ["one", "two", None]
    for number, column in enumerate((pyarrow.array(smiles), pyarrow.array(smiles, pyarrow.large_string()),
                                     pyarrow.array(smiles).dictionary_encode())):  # fmt: skip
        path = parquet_file(tmp_path / f"{number}.pq", x=[1, 2, 3], Canonical_SMILES=column, ID=names)
        rows = rows_of(path)
        assert [(row.number, row.line, row.name, row.text) for row in rows] == [
            (1, 1, "one", "CCO"), (2, 2, "two", ""), (3, 3, "row 3", "CCN"),
        ]  # fmt: skip
    (tmp_path / "no ending").write_bytes(path.read_bytes())
    assert rows_of(tmp_path / "no ending") == rows
    assert [row.name for row in rows_of(path, name_column="x")] == ["1", "2", "3"]  # numbers are names too


def test_parquet_cells_are_as_hostile_as_those_of_a_text(tmp_path):
    bad = pyarrow.array([b"CCO", b"C" * 200_000, b"CC\xe9"], pyarrow.binary()).view(pyarrow.string())
    rows = rows_of(parquet_file(tmp_path / "a.parquet", smiles=bad, name=["a\x1b[31mb", "x" * 500, "=cmd"]))
    assert [row.name for row in rows] == ["a[31mb", "x" * 97 + "...", "=cmd"]
    assert [row.text for row in rows] == ["CCO", "", "CC\u00e9"] and "longer than 100,000" in rows[1].problem


def test_parquet_columns_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="no SMILES column among 'a', 'b'.*--smiles-column"):
        rows_of(parquet_file(tmp_path / "a.parquet", a=["CCO"], b=[1]))
    with pytest.raises(InputError, match="column 'b' holds int64; expected text"):
        rows_of(tmp_path / "a.parquet", smiles_column="b")
    with pytest.raises(InputError, match="no column 'c'"):
        rows_of(tmp_path / "a.parquet", name_column="c")
    twice = pyarrow.table([["CCO"], ["CCN"]], names=["smiles", "smiles"])
    parquet.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(InputError, match="two columns are called 'smiles'"):
        rows_of(tmp_path / "b.parquet")
    assert rows_of(parquet_file(tmp_path / "c.parquet", smiles=pyarrow.array([], pyarrow.string()))) == []


def test_a_parquet_file_that_is_damaged_inside_says_after_which_row(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"smiles": [f"{'C' * (n % 90 + 1)}O" for n in range(20_000)]}), path,
                        compression="zstd", use_dictionary=False, row_group_size=5000)  # fmt: skip
    data = bytearray(path.read_bytes())
    start = parquet.read_metadata(path).row_group(2).column(0).data_page_offset
    data[start : start + 200] = b"\xff" * 200
    path.write_bytes(data)
    with open_input(path) as rows, pytest.raises(InputError, match="a.parquet: the Parquet file is damaged after row"):
        for row in rows:
            assert row.number <= 10_000


def test_a_smiles_is_a_list_of_one():
    (row,) = rows_of("CCO my compound")
    assert (row.text, row.name) == ("CCO", "my compound")


@pytest.mark.parametrize(
    ("bom", "encoding"),
    [
        (b"\xef\xbb\xbf", "utf-8"),
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"", "utf-8"),
    ],
)
def test_byte_order_marks_and_encodings(bom, encoding, tmp_path):
    path = write(tmp_path / "a.csv", bom + "smiles,name\nCCO,\u00e9thanol \u03b2\n".encode(encoding))
    (row,) = rows_of(path)
    assert (row.text, row.name) == ("CCO", "\u00e9thanol \u03b2")


def test_latin1_names_are_read(tmp_path):
    (row,) = rows_of(write(tmp_path / "a.smi", "CCO \u00e9thanol\n".encode("latin-1")))
    assert row.name == "\u00e9thanol"


HOSTILE_NAMES = {
    "../../etc/passwd": "../../etc/passwd", "=cmd|'/C calc'!A0": "=cmd|'/C calc'!A0", "a\x00b": "ab",
    "a\x1b[31mb": "a[31mb",
    "<b onclick=x>": "<b onclick=x>", "a\u202eb": "ab", "x" * 500: "x" * 97 + "...", "\u200b": "", " a  b ": "a b",
    "a\nb": "a b", "a\tb\x0bc": "a b c", "\ud800": "", "[bold]x[/bold]": "[bold]x[/bold]", "": "",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_are_one_printable_line(name):
    assert clean_name(name) == HOSTILE_NAMES[name]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "|calc", "%0A"])
def test_a_spreadsheet_sees_no_formula(name):
    assert table_cell(name) == f"'{name}"
    assert table_cell(f"a{name}") == f"a{name}"


def test_rows_without_a_name_are_called_by_their_number(tmp_path):
    assert [row.name for row in rows_of(write(tmp_path / "a.smi", "CCO\nCCN \x00\n"))] == ["row 1", "row 2"]
    assert rows_of(write(tmp_path / "a.sdf", block("CCO", title="") + ">  <ID>\nX-1\n\n$$$$\n"))[0].name == "X-1"


#: File name, content, what is said of it.
BAD_FILES = {
    "no smiles column": ("a.csv", "id,activity\n1,2\n", "no SMILES column among 'id', 'activity'.*--smiles-column"),
    "no header": ("b.csv", "CCO,ethanol\nCCN,ethylamine\n", "no SMILES column among 'CCO', 'ethanol'"),
    "a zip": ("c.csv", b"PK\x03\x04" + bytes(100), "is not a text file"),
    "a spreadsheet": ("d.xlsx", b"PK\x03\x04", ".xlsx files are not read"),
    "a PDB file": ("e.pdb", "ATOM\n", ".pdb files are not read"),
    "a PDF": ("f.smi", b"%PDF-1.4\n" + bytes(100), "is not a text file"),
    "a binary": ("g.smi", bytes(range(256)) * 40, "is not a text file"),
    "not gzip": ("h.smi.gz", b"\x1f\x8bnot really", "gzipped file is damaged"),
    "half a gzip": ("i.smi.gz", gzip.compress(b"CCO\n" * 20_000)[:-20], "gzipped file is damaged"),
    "not Parquet": ("k.parquet", "smiles\nCCO\n", "the Parquet file is damaged.*copy or write it again"),
    "Parquet cut short": ("l.parquet", b"PAR1" + bytes(500), "the Parquet file is damaged"),
    "gzipped Parquet": ("m.parquet.gz", gzip.compress(b"PAR1" + bytes(500)), "cannot be read while it is gzipped"),
    "damaged gzip": ("j.smi.gz", gzip.compress(b"CCO x\n" * 9999)[:40] + b"xxxx" * 30, "file is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused_with_a_reason(case, tmp_path):
    name, data, says = BAD_FILES[case]
    with pytest.raises(InputError, match=says) as caught:
        rows_of(write(tmp_path / name, data))
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_no_file_and_a_folder(tmp_path):
    for missing in ("absent.smi", "absent.sdf.gz", str(tmp_path / "x.csv")):
        with pytest.raises(InputError, match="no file"):
            open_input(missing)
    with pytest.raises(InputError, match="is not a file"):
        open_input(tmp_path)
    for nonsense in ("not a smiles", "C" * 5000 + "(", "a\x00b", "\u00e9"):
        with pytest.raises(InputError, match="neither a file nor a SMILES"):
            open_input(nonsense)
    with pytest.raises(InputError, match="no file ''"):
        open_input("")


def test_an_asked_for_column_that_is_not_there(tmp_path):
    path = write(tmp_path / "a.csv", "Structure,Catalog ID\nCCO,x1\n")
    assert rows_of(path, name_column="Catalog ID")[0].name == "x1"
    with pytest.raises(InputError, match="no column 'Catalog Id'.*did you mean 'Catalog ID'"):
        rows_of(path, name_column="Catalog Id")


@pytest.mark.parametrize("name", ["a.smi", "a.csv", "a.sdf", "a.smi.gz"])
@pytest.mark.parametrize("content", [b"", b"\n\n \n"])
def test_empty_files_have_no_rows(name, content, tmp_path):
    assert rows_of(write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)) == []


def test_bad_rows_of_a_csv_cost_only_themselves(tmp_path):
    text = 'name,smiles\na,CCO\nb\n"c\nd",CCN\n,\ne,,,\nf,CCC,more,cells\n'
    rows = rows_of(write(tmp_path / "a.csv", text))
    assert [(row.number, row.line, row.name, row.text) for row in rows] == [
        (1, 2, "a", "CCO"), (2, 3, "b", ""), (3, 4, "c d", "CCN"), (4, 7, "e", ""), (5, 8, "f", "CCC"),
    ]  # fmt: skip
    assert "too few for its SMILES column" in rows[1].problem
    for row in (rows[1], rows[3]):
        with pytest.raises(InputError, match="too few|empty SMILES"):
            molecule_of(row)


def test_a_quote_that_is_never_closed(tmp_path):
    text = 'smiles,name\nCCO,a\n"CCN,b\n' + "CCC,c\n" * 40_000
    rows = rows_of(write(tmp_path / "a.csv", text))
    assert rows[0].name == "a" and "a quote is opened on line 3" in rows[1].problem
    assert rows[-1].text == "CCC"  # reading goes on after it


@pytest.mark.parametrize("name", ["a.smi", "a.csv"])
def test_huge_lines_are_skipped_not_held(name, tmp_path):
    header = "smiles\n" if name == "a.csv" else ""
    rows = rows_of(write(tmp_path / name, f"{header}CCO\n{'C' * 3_000_000}\nCCN\n"))
    assert [row.text for row in rows] == ["CCO", "", "CCN"]
    assert "longer than 100,000 characters" in rows[1].problem
    assert [row.number for row in rows] == [1, 2, 3]


def test_an_sdf_that_never_says_the_record_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MAX_RECORD_LINES", 50)
    text = block("CCO").replace("M  END", "junk\n" * 100 + "M  END") + "$$$$\n" + block("CCN") + "$$$$\n"
    rows = rows_of(write(tmp_path / "a.sdf", text))
    assert "longer than 50 lines" in rows[0].problem and Chem.MolToSmiles(molecule_of(rows[1])) == "CCN"
    long = block("CCO").replace("M  END", "x" * 200_000 + "\nM  END") + "$$$$\n"
    assert "longer than 100,000 characters" in rows_of(write(tmp_path / "b.sdf", long))[0].problem


def test_a_gzip_bomb_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "BOMB_BYTES", 2**20)
    path = write(tmp_path / "bomb.smi.gz", gzip.compress(b"C" * 2**24))
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        rows_of(path)
    honest = b"".join(b"%s name%d\n" % (b"C" * (i % 30 + 1), zlib.crc32(b"%d" % i)) for i in range(100_000))
    assert len(rows_of(write(tmp_path / "fine.smi.gz", gzip.compress(honest)))) == 100_000


def test_a_long_file_is_read_a_row_at_a_time(tmp_path):
    path = write(tmp_path / "a.smi", b"CCO name\n" * 300_000)
    with open_input(path) as rows:
        first = next(iter(rows))
        assert first.number == 1 and 0 < rows.fraction < 0.1  # one buffer, not the file


def test_not_a_regular_file(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.smi")
    with pytest.raises(InputError, match="is not a file"):
        open_input(tmp_path / "pipe.smi")


def test_the_reader_is_used_for_streams_of_unknown_content(tmp_path):
    buffer = io.StringIO()
    for index in range(500):
        buffer.write(f"{'C' * (index % 9 + 1)}O\tcompound-{index}\r\n")
    rows = rows_of(write(tmp_path / "list.txt", buffer.getvalue()))
    assert len(rows) == 500 and rows[-1].name == "compound-499"
