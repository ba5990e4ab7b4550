"""A ligand's force field: GAFF2 types and bonded terms (AmberTools), charges by the NAGL network or AM1-BCC."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import AllChem

from esr1md.errors import StageError
from esr1md.ligand import am1bcc
from esr1md.ligand import charges as nagl
from esr1md.ligand.ambertools import EstimatedTerm, gaff2_frcmod, gaff2_types
from esr1md.ligand.forcefield_xml import RESIDUE_NAME, write_forcefield
from esr1md.ligand.molecules import write_sdf
from esr1md.specs import Ligand, numeric_versions

#: Charge methods by the names a screen gives them.
CHARGES = {"nagl": nagl.METHOD, "am1bcc": am1bcc.METHOD}

#: Seed of the first conformer: parameters and atom order must not depend on chance.
CONFORMER_SEED = 20240229


#: Packages whose version changes the parameters of a ligand.
_NUMERIC = ("rdkit", "acpype", "openff-nagl-models", "esr1md-science")


def parameters_identity(ligand: Ligand, versions: dict[str, str], charges: str = "nagl") -> dict[str, Any]:
    """What the parameters of a ligand depend on; ``versions`` as :func:`esr1md.specs.numeric_versions` gives them."""
    used = {name: versions[name] for name in _NUMERIC if name in versions}
    return {"ligand": ligand.identity, "charges": CHARGES[charges], "versions": used}


@dataclass(frozen=True)
class LigandParameters:
    """A parametrised ligand.

    Attributes
    ----------
    ligand
        What was parametrised.
    xml
        OpenMM ForceField file with residue template ``LIG``, to be loaded beside ``amber14``.
    sdf
        One conformer with every hydrogen, in template order; property ``atom_names`` holds the names.
    charges
        Partial charges (e) in the same order.
    method
        Force field and charge model in one line.
    estimated
        Bonded terms that GAFF2 lacks and ``parmchk2`` estimated (:class:`esr1md.ligand.ambertools.EstimatedTerm`).
    warnings
        What a reader must know (estimated parameters, charges outside the training domain).
    seconds
        Wall time of each step.
    """

    ligand: Ligand
    xml: Path
    sdf: Path
    charges: tuple[float, ...]
    method: str
    estimated: tuple[EstimatedTerm, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float] = dataclasses.field(hash=False)

    @property
    def atom_names(self) -> list[str]:
        """Unique atom names in template order."""
        return self.molecule().GetProp("atom_names").split()

    def molecule(self) -> Chem.Mol:
        """The molecule of :attr:`sdf`, hydrogens kept, coordinates in angstrom."""
        mol = next(iter(Chem.SDMolSupplier(str(self.sdf), removeHs=False)), None)
        if mol is None:
            raise StageError("parameters", "the ligand's SDF cannot be read", where=str(self.sdf))
        return mol

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``record.json``; paths relative to the folder."""
        return {
            "ligand": dataclasses.asdict(self.ligand),
            "xml": self.xml.name,
            "sdf": self.sdf.name,
            "charges": list(self.charges),
            "method": self.method,
            "estimated": [dataclasses.asdict(term) for term in self.estimated],
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "versions": numeric_versions(),
        }

    @classmethod
    def from_folder(cls, folder: Path) -> LigandParameters:
        """Read back what :func:`parametrise` left in ``folder``.

        Raises
        ------
        StageError
            ``record.json`` is missing or unreadable.
        """
        try:
            record = json.loads((folder / "record.json").read_text())
            return cls(
                ligand=Ligand(**record["ligand"]),
                xml=folder / record["xml"],
                sdf=folder / record["sdf"],
                charges=tuple(record["charges"]),
                method=record["method"],
                estimated=tuple(EstimatedTerm(**term) for term in record["estimated"]),
                warnings=tuple(record["warnings"]),
                seconds=record["seconds"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StageError("parameters", f"no readable parameters here ({error})", where=str(folder)) from error


def parametrise(ligand: Ligand, folder: Path, charges: str = "nagl") -> LigandParameters:
    """Force field of one ligand: writes ``ligand.xml``, ``ligand.sdf`` and ``record.json`` into ``folder``.

    The molecule of ``ligand.smiles`` gets its hydrogens as written (the protonation state is already
    chosen), one conformer, GAFF2 atom types and every bonded term it uses, and charges.

    Parameters
    ----------
    ligand
        In the protonation state that is simulated.
    folder
        Existing or new folder.
    charges
        ``nagl`` (milliseconds) or ``am1bcc`` (minutes, except for ligands whose charges are shipped).

    Raises
    ------
    StageError
        No conformer, no atom type, a program fails or lacks a system library. Its working files stay in ``folder``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    start = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal start
        now = time.perf_counter()
        seconds[step], start = round(now - start, 3), now

    mol, warnings = ligand_molecule(ligand)
    names = unique_atom_names(mol)
    mol.SetProp("atom_names", " ".join(names))
    lap("conformer")
    if charges == "am1bcc":
        values, doubts = nagl.equal_on_equal_atoms(mol, am1bcc.am1bcc_charges(ligand, mol, folder)), ()
    else:
        values, doubts = (charged := nagl.charge_ligand(mol)).charges, charged.warnings
    lap("charges")

    work = Path(tempfile.mkdtemp(prefix="antechamber-", dir=folder))
    write_sdf(mol, work / "input.sdf")
    types = gaff2_types("input.sdf", mol.GetNumAtoms(), ligand.formal_charge, work)
    frcmod, estimated = gaff2_frcmod(work)
    lap("gaff2")

    sdf, xml = folder / "ligand.sdf", folder / "ligand.xml"
    write_forcefield(mol, names, types, [float(q) for q in values], frcmod, xml)
    write_sdf(mol, sdf)
    shutil.rmtree(work)
    lap("forcefield")
    result = LigandParameters(
        ligand=ligand,
        xml=xml,
        sdf=sdf,
        charges=tuple(round(float(q), 8) for q in values),
        method=f"GAFF2 (antechamber, parmchk2) with {CHARGES[charges]} charges",
        estimated=estimated,
        warnings=(*warnings, *doubts, *(term.warning for term in estimated if term.warning)),
        seconds=seconds,
    )
    record = json.dumps(result.to_json(), indent=2)
    (folder / "record.json.part").write_text(record + "\n")
    os.replace(folder / "record.json.part", folder / "record.json")
    return result


def ligand_molecule(ligand: Ligand) -> tuple[Chem.Mol, list[str]]:
    """Molecule with explicit hydrogens and one relaxed conformer (ETKDGv3, then MMFF94).

    Returns
    -------
    Chem.Mol
        Atom order: the heavy atoms of the canonical SMILES, then hydrogens. Coordinates in angstrom.
    list[str]
        Warnings: what had to be done differently.

    Raises
    ------
    StageError
        RDKit finds no conformer with the ligand's stereochemistry.
    """
    parsed = Chem.MolFromSmiles(ligand.smiles)
    if parsed is None:
        raise StageError("parameters", f"{ligand.name}: the SMILES '{ligand.smiles}' cannot be read")
    mol = Chem.AddHs(parsed)
    warnings = []
    settings = AllChem.ETKDGv3()
    settings.randomSeed = CONFORMER_SEED
    if AllChem.EmbedMolecule(mol, settings) < 0:
        settings.useRandomCoords = True
        if AllChem.EmbedMolecule(mol, settings) < 0:
            raise StageError(
                "parameters",
                f"{ligand.name}: no 3D conformer found for '{ligand.smiles}'; "
                "check that its stereochemistry is possible",
            )
        warnings.append("conformer: ETKDG needed random starting coordinates")
    if AllChem.MMFFHasAllMoleculeParams(mol):
        AllChem.MMFFOptimizeMolecule(mol, maxIters=500)
    else:
        with rdBase.BlockLogs():
            AllChem.UFFOptimizeMolecule(mol, maxIters=500)
        warnings.append("conformer: relaxed with UFF because MMFF94 lacks parameters for this ligand")
    mol.SetProp("_Name", RESIDUE_NAME)
    return mol, warnings


def unique_atom_names(mol: Chem.Mol) -> list[str]:
    """Element and a running number, ``C1 C2 O1 H1 ...``: unique and at most four characters for a ligand."""
    counts: dict[str, int] = {}
    names = []
    for atom in mol.GetAtoms():
        symbol = atom.GetSymbol()
        counts[symbol] = counts.get(symbol, 0) + 1
        names.append(f"{symbol}{counts[symbol]}")
    return names


def positions_nm(mol: Chem.Mol) -> np.ndarray:
    """Coordinates of the molecule's conformer, ``n x 3`` (nm)."""
    return mol.GetConformer().GetPositions() * 0.1
