"""Ligand force fields: energies equal to tleap's, loadable beside amber14, clear failures."""

from __future__ import annotations

import gzip
import json
import stat
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit
from rdkit import Chem

from esr1md.errors import StageError
from esr1md.ligand import ambertools
from esr1md.ligand.catalogue import catalogue_ligand, catalogue_ligands
from esr1md.ligand.parameters import LigandParameters, parametrise, positions_nm, unique_atom_names

TLEAP = Path(__file__).parent / "tleap"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Parameters of a catalogued ligand, made once per test run."""
    cache: dict[str, LigandParameters] = {}

    def make(name: str) -> LigandParameters:
        if name not in cache:
            cache[name] = parametrise(catalogue_ligand(name), tmp_path_factory.mktemp("ligand") / "a folder")
        return cache[name]

    return make


def topology_of(parameters: LigandParameters) -> app.Topology:
    mol = parameters.molecule()
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain("L"))
    atoms = [
        topology.addAtom(name, app.Element.getByAtomicNumber(atom.GetAtomicNum()), residue)
        for name, atom in zip(parameters.atom_names, mol.GetAtoms(), strict=True)
    ]
    for bond in mol.GetBonds():
        topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    return topology


def energies(system: openmm.System, positions: np.ndarray) -> dict[str, float]:
    """Energy of each kind of force (kJ/mol) on the Reference platform."""
    for group, force in enumerate(system.getForces()):
        force.setForceGroup(group)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    return {
        force.getName(): context.getState(getEnergy=True, groups={group})
        .getPotentialEnergy()
        .value_in_unit(unit.kilojoule_per_mole)
        for group, force in enumerate(system.getForces())
    }


@pytest.mark.parametrize("name", ["4-hydroxytamoxifen", "fulvestrant", "ICI-164384"])
def test_energies_equal_those_of_a_tleap_topology(name, made, tmp_path):
    parameters = made(name)
    prmtop_path = tmp_path / "tleap.prmtop"
    prmtop_path.write_bytes(gzip.decompress((TLEAP / f"{name}.prmtop.gz").read_bytes()))
    prmtop = app.AmberPrmtopFile(str(prmtop_path))
    assert [atom.name for atom in prmtop.topology.atoms()] == parameters.atom_names

    theirs = prmtop.createSystem(nonbondedMethod=app.NoCutoff, removeCMMotion=False)
    ours = app.ForceField(str(parameters.xml)).createSystem(
        topology_of(parameters), nonbondedMethod=app.NoCutoff, removeCMMotion=False
    )
    # displaced atoms, so that impropers and every torsion have energies to differ in
    positions = positions_nm(parameters.molecule())
    positions = positions + np.random.default_rng(20).normal(0.0, 0.005, positions.shape)
    expected, found = energies(theirs, positions), energies(ours, positions)
    assert set(found) == set(expected)
    for force, value in expected.items():
        assert abs(value) > 1.0
        assert found[force] == pytest.approx(value, abs=0.01), force


def test_it_loads_beside_amber14(made):
    parameters = made("4-hydroxytamoxifen")
    forcefield = app.ForceField("amber14/protein.ff14SB.xml", "amber14/tip3p.xml", str(parameters.xml))
    system = forcefield.createSystem(topology_of(parameters), nonbondedMethod=app.NoCutoff)
    nonbonded = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charges = [
        nonbonded.getParticleParameters(i)[0].value_in_unit(unit.elementary_charge)
        for i in range(nonbonded.getNumParticles())
    ]
    assert charges == pytest.approx(parameters.charges, abs=1e-8)
    assert sum(charges) == pytest.approx(1.0, abs=1e-6)


def test_the_force_field_file_is_self_contained_and_names_nothing_of_amber(made):
    root = ElementTree.parse(made("fulvestrant").xml).getroot()
    types = {t.get("name") for t in root.iter("Type")}
    assert all(name.startswith("gaff2-") for name in types)
    used = {
        value
        for element in root.iter()
        for key, value in element.attrib.items()
        if key.rstrip("1234") in ("class", "type") and value
    }
    assert used <= types
    elements = {t.get("name"): t.get("element") for t in root.iter("Type")}
    mol = made("fulvestrant").molecule()
    for atom, template in zip(mol.GetAtoms(), root.find("Residues/Residue").findall("Atom"), strict=True):
        assert elements[template.get("type")] == atom.GetSymbol()


def test_the_record_can_be_read_back(made):
    parameters = made("fulvestrant")
    folder = parameters.xml.parent
    assert sorted(path.name for path in folder.iterdir()) == ["ligand.sdf", "ligand.xml", "record.json"]
    assert LigandParameters.from_folder(folder) == parameters
    record = json.loads((folder / "record.json").read_text())
    assert record["xml"] == "ligand.xml" and record["ligand"]["name"] == "fulvestrant"
    assert "NAGL" in record["method"] and record["versions"]["acpype"]
    with pytest.raises(StageError, match="no readable parameters"):
        LigandParameters.from_folder(folder.parent)


def test_the_conformer_is_the_ligand(made):
    parameters = made("fulvestrant")
    mol = parameters.molecule()
    assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == parameters.ligand.smiles
    assert len(set(parameters.atom_names)) == mol.GetNumAtoms() == len(parameters.charges)
    distances = Chem.Get3DDistanceMatrix(mol) + 9.0 * np.eye(mol.GetNumAtoms())
    assert distances.min() > 0.9


def test_the_same_ligand_gives_the_same_files(made, tmp_path):
    first = made("4-hydroxytamoxifen")
    second = parametrise(catalogue_ligand("4-hydroxytamoxifen"), tmp_path)
    assert first.xml.read_bytes() == second.xml.read_bytes()
    np.testing.assert_allclose(positions_nm(first.molecule()), positions_nm(second.molecule()), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("ligand", catalogue_ligands(), ids=lambda ligand: ligand.name)
def test_every_catalogued_ligand_has_a_force_field(ligand, tmp_path):
    parameters = parametrise(ligand, tmp_path)
    assert sum(parameters.charges) == pytest.approx(ligand.formal_charge, abs=1e-6)
    assert not [said for said in parameters.warnings if "use charges: am1bcc" not in said]
    system = app.ForceField("amber14/protein.ff14SB.xml", str(parameters.xml)).createSystem(
        topology_of(parameters), nonbondedMethod=app.NoCutoff, removeCMMotion=False
    )
    found = energies(system, positions_nm(parameters.molecule()))
    assert all(np.isfinite(value) and abs(value) < 2000 for value in found.values())


def test_atom_names():
    assert unique_atom_names(Chem.AddHs(Chem.MolFromSmiles("CCl"))) == ["C1", "Cl1", "H1", "H2", "H3"]


def _fake_programs(tmp_path: Path, script: str) -> Path:
    programs = tmp_path / "home" / "bin" / "wrapped_progs"
    programs.mkdir(parents=True)
    path = programs / "antechamber"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Fatal Error! no such bond'; exit 1\n", "antechamber failed .exit 1.: Fatal Error! no such bond"),
        ("echo done\n", "antechamber failed .exit 0.: done"),
        ("sleep 30\n", "antechamber did not finish within 0.3 s"),
    ],
)
def test_a_failing_program_is_a_stage_failure(script, said, tmp_path, monkeypatch):
    home = _fake_programs(tmp_path, script)
    monkeypatch.setattr(ambertools, "amber_home", lambda: home)
    monkeypatch.setattr(ambertools, "ANTECHAMBER_LIMIT", 0.3)
    with pytest.raises(StageError, match=said) as caught:
        parametrise(catalogue_ligand("bisphenol A"), tmp_path / "out")
    assert caught.value.stage == "parameters"
    assert Path(caught.value.where).is_file()  # the log is left to look at
    assert not (tmp_path / "out" / "record.json").exists()


def test_a_program_that_takes_too_long_ends_with_what_it_started(tmp_path, monkeypatch):
    """antechamber runs sqm, which would go on for hours."""
    home = _fake_programs(tmp_path, f"sleep 60 &\necho $! > {tmp_path}/started\nwait\n")
    monkeypatch.setattr(ambertools, "amber_home", lambda: home)
    with pytest.raises(StageError, match="did not finish within 1.0 s"):
        ambertools.run_program("antechamber", [], tmp_path, "never", 1.0)
    sleeping = int((tmp_path / "started").read_text())
    limit = time.monotonic() + 10  # a signal is delivered when the process is next scheduled
    while _is_running(sleeping) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not _is_running(sleeping)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_an_unsupported_system_says_so(monkeypatch):
    monkeypatch.setattr(ambertools.platform, "machine", lambda: "riscv64")
    with pytest.raises(StageError, match="no AmberTools programs for .* riscv64"):
        ambertools.amber_home()


def test_parameters_that_gaff2_lacks_are_reported(tmp_path, monkeypatch):
    frcmod = (
        "remark\nMASS\n\nBOND\n\nANGLE\nc3-c3-zz    0.00    0.000   ATTN, need revision\n\nDIHE\n"
        "c3-c3-c3-c6   1    0.520    0.000   -3.000      same as c3-c3-c3-c3, penalty score=  0.0\n"
        "c3-c3-ce-cf   1    0.000    0.000   -2.000      same as c3-c3-cc-ca, penalty score=223.0\n"
        "c3-c3-ce-cf   1    1.000    0.000    1.000      same as c3-c3-cc-ca, penalty score=223.0\n\n"
        "IMPROPER\nca-ca-ca-ha         1.1          180.0         2.0          Using the default value\n"
        "ca-ca-ca-ce         1.1          180.0         2.0          Same as c2-ca-ca-ca, penalty score= 61.9)\n\n"
        "NONBON\n"
    )

    def write(name, arguments, folder, output, limit):
        (folder / output).write_text(frcmod)

    monkeypatch.setattr(ambertools, "run_program", write)
    _, terms = ambertools.gaff2_frcmod(tmp_path)
    assert [(term.kind, term.types, term.source, term.penalty) for term in terms] == [
        ("angle", "c3-c3-zz", "ATTN, need revision", None),
        ("torsion", "c3-c3-ce-cf", "same as c3-c3-cc-ca", 223.0),
        ("improper", "ca-ca-ca-ce", "Same as c2-ca-ca-ca", 61.9),
    ]
    assert [bool(term.warning) for term in terms] == [True, False, False]
    assert "c3-c3-zz" in terms[0].warning and "revise" in terms[0].warning
