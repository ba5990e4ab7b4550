"""Reading structure files: what is chosen, what is dropped, what is refused."""

from __future__ import annotations

import gzip

import gemmi
import numpy as np
import pytest

from esr1md.errors import InputError
from esr1md.receptor.frame import CORE, alpha_carbons, bundled_model, model_alpha_carbons, superpose
from esr1md.receptor.request import find_start, keeping_mutations
from esr1md.receptor.sequence import ONE_LETTER, P03372, parse_variant
from esr1md.receptor.source import read_source, read_structure, superpose_on_frame
from esr1md.specs import WILD_TYPE


@pytest.fixture(scope="module")
def model_text() -> str:
    return bundled_model("agonist").read_text()


def write(folder, text, name="receptor.pdb"):
    path = folder / name
    path.write_text(text)
    return path


def refused(path) -> str:
    with pytest.raises(InputError) as caught:
        read_source(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    assert caught.value.exit_code == 2
    return message


def test_crystal_ligand_water_and_other_chains_are_dropped_and_named(shared_data):
    source = read_source(shared_data / "pdb" / "1QKU.pdb")
    assert [r.seqid.num for r in source.chain] == list(range(305, 551))
    assert "".join(ONE_LETTER[r.name] for r in source.chain) == P03372[304:550]
    assert (source.mutations, source.gaps, source.incomplete) == ((), (), {})
    text = "; ".join(source.steps)
    assert "chain A of A, B, C" in text and "EST A600" in text and "596 waters" in text
    assert len(source.ligand_atoms) == 60  # three estradiols of twenty heavy atoms


def test_numbering_comes_from_the_alignment_not_from_the_file(shared_data, tmp_path):
    path = shared_data / "pdb" / "3ERT.pdb"
    structure = gemmi.read_structure(str(path))
    for chain in structure[0]:
        for residue in chain:
            residue.seqid.num += 1000
    shifted = tmp_path / "shifted.pdb"
    structure.write_pdb(str(shifted))
    assert [r.seqid.num for r in read_source(shifted).chain] == [r.seqid.num for r in read_source(path).chain]


def test_engineered_mutation_gap_and_modified_residue(shared_data):
    five = read_source(shared_data / "pdb" / "5WGD.cif")
    assert [str(m) for m in five.mutations] == ["Y537S"]
    assert five.gaps == ((461, 472),)
    one = read_source(shared_data / "pdb" / "1ERR.pdb")
    assert one.chain["381"][0].name == "CYS"
    assert any("CCS381 to CYS" in step for step in one.steps)


def test_most_occupied_alternate_location_is_kept(model_text, tmp_path):
    lines = []
    for line in model_text.splitlines():
        if line.startswith("ATOM") and line[22:26] == " 353" and line[12:16].strip() == "CD":
            x = float(line[30:38])
            lines.append(line[:16] + "A" + line[17:54] + "  0.30" + line[60:])
            line = line[:16] + "B" + line[17:30] + f"{x + 1:8.3f}" + line[38:54] + "  0.70" + line[60:]
            expected = x + 1
        lines.append(line)
    source = read_source(write(tmp_path, "\n".join(lines)))
    assert source.chain["353"][0]["CD"][0].pos.x == pytest.approx(expected)
    assert len(source.chain["353"][0]) == 9
    assert "most occupied conformer kept of residues 353" in source.steps


def test_the_chain_with_helix_12_wins(shared_data, tmp_path):
    structure = gemmi.read_structure(str(shared_data / "pdb" / "1QKU.pdb"))
    chain = structure[0]["A"]
    for i in reversed(range(len(chain))):
        if 530 <= chain[i].seqid.num <= 550:
            del chain[i]
    path = tmp_path / "no-helix.pdb"
    structure.write_pdb(str(path))
    assert read_source(path).steps[0].startswith("chain B of")


def test_gzipped_file_is_read(model_text, tmp_path):
    path = tmp_path / "receptor.pdb.gz"
    path.write_bytes(gzip.compress(model_text.encode()))
    assert len(read_source(path).chain) == 245


def test_missing_file_folder_and_binary(tmp_path):
    assert "no such structure file" in refused(tmp_path / "absent.pdb")
    assert "folder" in refused(tmp_path)
    binary = tmp_path / "picture.pdb"
    binary.write_bytes(bytes(range(256)))
    assert "not text" in refused(binary)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  \n\n", "empty"),
        ("this is not a structure\n", "no ATOM record"),
        ("data_empty\n_cell.length_a 1\n", "no atoms found"),
        ("data_x\nloop_\n_atom_site.id\n_atom_site.type_symbol\n1 C 2\n", "cannot read the structure"),
        ("HETATM    1  O   HOH A   1      10.000  10.000  10.000  1.00  0.00\n", "no protein found"),
    ],
)
def test_files_without_a_protein(text, message, tmp_path):
    assert message in refused(write(tmp_path, text))


def test_file_cut_inside_a_line_or_after_a_third(model_text, tmp_path):
    cut = model_text[: len(model_text) // 2].rsplit("\n", 1)[0] + "\nATOM   9999  CA  LEU A 400      10.0"
    message = refused(write(tmp_path, cut))
    assert "cut off" in message and f"line {cut.count(chr(10)) + 1}" in message
    short = "".join(model_text.splitlines(keepends=True)[:1200])
    assert "expected at least 150 of 305-554" in refused(write(tmp_path, short))


@pytest.mark.parametrize("value", ["     nan", "     inf", "********", "        "])
def test_coordinates_that_are_not_numbers(model_text, tmp_path, value):
    lines = model_text.splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("ATOM") and " CA " in line)
    lines[row] = lines[row][:30] + value + lines[row][38:]
    message = refused(write(tmp_path, "\n".join(lines)))
    assert "not numbers" in message and f"line {row + 1}" in message


def test_coordinates_all_zero(model_text, tmp_path):
    text = "\n".join(
        line[:30] + "   0.000" * 3 + line[54:] if line.startswith("ATOM") else line for line in model_text.splitlines()
    )
    assert "sit on another atom's coordinates" in refused(write(tmp_path, text))


def test_another_protein_is_refused_with_its_identity(model_text, tmp_path):
    swap = {"LEU": "ALA", "ALA": "GLY", "GLU": "GLN", "LYS": "SER"}
    lines = [
        line[:17] + swap.get(line[17:20], line[17:20]) + line[20:]
        for line in model_text.splitlines()
        if line[12:16].strip() in ("N", "CA", "C", "O")
    ]
    message = refused(write(tmp_path, "\n".join(lines)))
    assert "not ER-alpha" in message and "% identical to UniProt P03372" in message
    assert "expected at least 90 %" in message


def test_unknown_chain_is_refused(shared_data):
    with pytest.raises(InputError, match="no chain 'Z'; expected one of A, B, C"):
        read_source(shared_data / "pdb" / "1QKU.pdb", "Z")


def test_superposition_recovers_a_known_movement():
    rng = np.random.default_rng(7)
    points = rng.normal(size=(40, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    shift = np.array([3.0, -2.0, 5.0])
    rotation, translation, rmsd = superpose(points, points @ turn.T + shift)
    assert np.allclose(rotation, turn) and np.allclose(translation, shift) and rmsd < 1e-9
    assert np.linalg.det(superpose(points, points * [1, 1, -1])[0]) == pytest.approx(1.0)


def test_any_entry_lands_on_the_frame(shared_data):
    reference = model_alpha_carbons(bundled_model("antagonist"))
    for name in ("3ERT.pdb", "1XPC.pdb", "5WGD.cif"):
        path = shared_data / "pdb" / name
        rotation, translation = superpose_on_frame(path)
        alphas = alpha_carbons(read_source(path).chain)
        apart = [np.linalg.norm(rotation @ alphas[n] + translation - reference[n]) for n in CORE if n in alphas]
        assert np.sqrt(np.mean(np.square(apart))) < 1.0
        # the transform holds for the coordinates of the file as they are, ligand included
        structure = read_structure(path)
        assert np.allclose(superpose_on_frame(structure)[0], rotation)


def test_engineered_mutations_are_reported_and_can_be_kept(shared_data):
    start = find_start(str(shared_data / "pdb" / "litpcba" / "5UFX_ant_protein.pdb"))
    assert [str(m) for m in start.chain.mutations] == ["C381S", "C417S", "C530S", "L536S"]
    assert "differs from P03372 at C381S, C417S, C530S, L536S" in start.chain.steps
    kept = keeping_mutations((WILD_TYPE, parse_variant("L536H+D538G"), parse_variant("L536S")), start)
    # what is asked for wins at its position; equal variants are one
    assert [variant.name for variant in kept] == ["C381S+C417S+C530S+L536S", "C381S+C417S+C530S+L536H+D538G"]
    assert keeping_mutations((WILD_TYPE, parse_variant("L536S")), start) == kept[:1]


def test_q502e_and_g400v_are_found(shared_data):
    found = {
        name: [str(m) for m in read_source(shared_data / "pdb" / name).mutations]
        for name in ("1A52.pdb", "prepared/1X7E_unifep_CHEMBL832786_protein.pdb")
    }
    assert list(found.values()) == [["Q502E"], ["G400V"]]


def test_why_a_chain_was_chosen_is_said(shared_data):
    assert "the most complete: 228 LBD residues; B: 222" in read_source(shared_data / "pdb" / "5WGD.cif").steps[0]
    assert "the first of equals" in read_source(shared_data / "pdb" / "1ERE.cif").steps[0]
    assert "as asked: 223 LBD residues" in read_source(shared_data / "pdb" / "1ERR.pdb", "B").steps[0]
    assert "the only ER-alpha chain" in read_source(shared_data / "pdb" / "3ERT.pdb").steps[0]


def test_equal_occupancies_take_the_first_letter(model_text, tmp_path):
    lines = []
    for line in model_text.splitlines():
        if line.startswith("ATOM") and line[22:26] == " 353" and line[12:16].strip() == "CD":
            expected = float(line[30:38])
            lines.append(line[:16] + "B" + line[17:30] + f"{expected + 1:8.3f}" + line[38:54] + "  0.50" + line[60:])
            line = line[:16] + "A" + line[17:54] + "  0.50" + line[60:]
        lines.append(line)
    source = read_source(write(tmp_path, "\n".join(lines)))
    assert source.chain["353"][0]["CD"][0].pos.x == pytest.approx(expected)
