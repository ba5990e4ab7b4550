"""A structure file made ready to pose in: nothing is moved, nothing is modelled."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from openmm import app
from rdkit import Chem

from esr1md.catalogue import data_path
from esr1md.errors import InputError
from esr1md.receptor.frame import bundled_model
from esr1md.receptor.given import receptor_as_given
from esr1md.receptor.protonation import ligand_from_sdf
from esr1md.receptor.relax import force_field
from esr1md.specs import HelixState

GAP = range(461, 470)
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
SHIFT = np.array([30.0, -20.0, 10.0])


def written(path, *, chains=1, without=(), truncated=()):
    """The agonist model without hydrogens, turned and moved, with a gap; a second copy far away as chain B."""
    structure = gemmi.read_structure(str(bundled_model("agonist")))
    structure.remove_hydrogens()
    source, made = structure[0][0], gemmi.Structure()
    made.add_model(gemmi.Model(1))
    for number in range(chains):
        chain = gemmi.Chain("AB"[number])
        for residue in source:
            if residue.name in ("ACE", "NME") or residue.seqid.num in without:
                continue
            copy = residue.clone()
            for atom in [a.name for a in copy]:
                if residue.seqid.num in truncated and atom not in ("N", "CA", "C", "O", "CB"):
                    copy.remove_atom(atom, "\0")
            for atom in copy:
                atom.pos = gemmi.Position(*(TURN @ np.array(atom.pos.tolist()) + SHIFT + [100.0 * number, 0, 0]))
            chain.add_residue(copy)
        made[0].add_chain(chain)
    made.setup_entities()
    made.write_pdb(str(path))
    return path


def heavy(path) -> dict[tuple[int, str], np.ndarray]:
    return {
        (residue.seqid.num, atom.name): np.array(atom.pos.tolist())
        for chain in gemmi.read_structure(str(path))[0] for residue in chain
        if residue.name not in ("ACE", "NME") for atom in residue if not atom.is_hydrogen()
    }  # fmt: skip


def box(tmp_path, chain: int):
    """Estradiol of the bundled references in the frame of the written file's chain."""
    mol = Chem.MolFromMolFile(str(data_path("structures") / "poses" / "1QKU_EST.sdf"))
    mol.GetConformer().SetPositions(mol.GetConformer().GetPositions() @ TURN.T + SHIFT + [100.0 * chain, 0, 0])
    Chem.MolToMolFile(mol, str(tmp_path / "box.sdf"))
    return ligand_from_sdf(tmp_path / "box.sdf")


def test_heavy_atoms_stay_gaps_stay_open_and_hydrogens_come(tmp_path):
    source = written(tmp_path / "given.pdb", without=GAP)
    given = receptor_as_given(source, tmp_path / "ready.pdb")
    before, after = heavy(source), heavy(given.pdb)
    assert before.keys() == after.keys()
    assert max(np.linalg.norm(before[key] - after[key]) for key in before) < 0.002
    assert given.state == HelixState.AGONIST
    assert any("left out, ends capped: residues 461-469" in step for step in given.steps)
    pdb = app.PDBFile(str(given.pdb))
    assert [chain.id for chain in pdb.topology.chains()] == ["A", "B"]
    force_field().createSystem(pdb.topology)  # every residue has parameters, the caps at the gap too


def test_side_chains_that_the_file_lacks_are_built(tmp_path):
    source = written(tmp_path / "given.pdb", truncated={401, 467})
    given = receptor_as_given(source, tmp_path / "ready.pdb")
    before, after = heavy(source), heavy(given.pdb)
    assert max(np.linalg.norm(before[key] - after[key]) for key in before) < 0.002
    added = {key[0] for key in after.keys() - before.keys()}
    assert added == {401, 467}
    places = np.array(list(after.values()))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(len(places), 1)]
    assert apart.min() > 1.1


@pytest.mark.parametrize("chain", [0, 1])
def test_the_chain_around_the_box_ligand_is_taken(tmp_path, chain):
    source = written(tmp_path / "given.pdb", chains=2)
    given = receptor_as_given(source, tmp_path / "ready.pdb", box(tmp_path, chain))
    centre = np.mean(list(heavy(given.pdb).values()), axis=0)
    ligand = np.mean([position for _, position in box(tmp_path, chain)], axis=0)
    assert np.linalg.norm(centre - ligand) < 20.0


def test_a_box_ligand_in_another_frame_is_refused(tmp_path):
    source = written(tmp_path / "given.pdb")
    far = tuple((element, (x + 500.0, y, z)) for element, (x, y, z) in box(tmp_path, 0))
    with pytest.raises(InputError, match="no residue lies within 5 A of the box ligand"):
        receptor_as_given(source, tmp_path / "ready.pdb", far)
