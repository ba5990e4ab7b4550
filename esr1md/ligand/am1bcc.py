"""AM1-BCC charges (Jakalian 2002) by AmberTools' ``sqm``, for a ligand whose NAGL charges are in doubt.

One conformer is optimised with AM1 and the bond charge corrections are added. A gas-phase conformer with its charged
groups folded onto each other gives charges that no solvated ligand has, so the conformer is the one, of several, whose
electrostatic interactions are weakest (as in ELF conformer selection).

Those of all catalogued ligands are shipped (``ligands/am1bcc``); ``python -m esr1md.ligand.am1bcc --out DIR`` makes
what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem
from scipy.spatial.distance import cdist

from esr1md.catalogue import data_path
from esr1md.errors import StageError
from esr1md.ligand.ambertools import amber_home, mol2_column, program_environment, run_program
from esr1md.ligand.molecules import write_sdf
from esr1md.specs import Ligand

METHOD = "AM1-BCC (sqm, one extended conformer)"
#: Time limit (s); estradiol takes 10 s, a ligand of 100 atoms some twenty minutes.
LIMIT = 6 * 3600.0
#: What ``sqm`` needs from the system, by the packages of Debian and Ubuntu.
SYSTEM_PACKAGES = ("libgfortran5", "liblapack3", "libarpack2")
INSTALL = f"install its system libraries (Debian, Ubuntu: apt-get install {' '.join(SYSTEM_PACKAGES)})"

_CONFORMERS, _SEED = 30, 20240229
_STRETCHED = 1.35  # times its first length: a bond longer than that is broken


@dataclass(frozen=True)
class Am1bccRecord:
    """AM1-BCC charges of one ligand, as shipped.

    Attributes
    ----------
    name, inchikey, smiles
        Of the simulated state.
    charges
        Partial charges (e), in the order of ``Chem.AddHs`` of the SMILES.
    method, versions
        How, and with which packages.
    seconds
        Processor time on one core.
    """

    name: str
    inchikey: str
    smiles: str
    charges: tuple[float, ...]
    method: str
    versions: dict[str, str]
    seconds: float


def am1bcc_charges(ligand: Ligand, mol: Chem.Mol, folder: Path) -> np.ndarray:
    """AM1-BCC charges of a ligand: the shipped ones, or computed now.

    Parameters
    ----------
    ligand
        Its InChIKey and SMILES say which shipped charges are its own.
    mol
        ``Chem.AddHs`` of ``ligand.smiles``.
    folder
        Where the program works.

    Returns
    -------
    np.ndarray
        ``n_atoms`` charges (e); the sum is the formal charge.

    Raises
    ------
    StageError
        ``sqm`` cannot run here (the message says what to install), fails, or the molecule reacts in the gas phase.
    """
    known = shipped(ligand)
    if known is not None and len(known.charges) == mol.GetNumAtoms():
        return np.array(known.charges)
    return compute(mol, folder)


def shipped(ligand: Ligand) -> Am1bccRecord | None:
    """The charges that come with the package; ``None`` for a ligand or state without."""
    path = data_path("ligands") / "am1bcc" / f"{ligand.inchikey}.json"
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    found = Am1bccRecord(**{**record, "charges": tuple(record["charges"])})
    return found if (found.smiles, found.method) == (ligand.smiles, METHOD) else None


def compute(mol: Chem.Mol, folder: Path) -> np.ndarray:
    """As :func:`am1bcc_charges`, always computed."""
    if missing := missing_library():
        raise StageError("parameters", f"AM1-BCC needs {missing}, which is not on this system: {INSTALL}")
    total = Chem.GetFormalCharge(mol)
    extended = extended_conformer(mol)
    work = Path(tempfile.mkdtemp(prefix="am1bcc-", dir=folder))
    write_sdf(extended, work / "input.sdf")
    arguments = ["-i", "input.sdf", "-fi", "sdf", "-o", "charged.mol2", "-fo", "mol2", "-c", "bcc", "-at", "gaff2"]
    run_program("antechamber", [*arguments, "-nc", str(total), "-pf", "n", "-dr", "no"], work, "charged.mol2", LIMIT)
    charges = np.array([float(text) for text in mol2_column(work / "charged.mol2", 8)])
    if len(charges) != mol.GetNumAtoms():
        raise StageError(
            "parameters", f"AM1-BCC gave {len(charges)} charges for {mol.GetNumAtoms()} atoms", where=str(work)
        )
    _check_bonds(extended, _optimised(work / "sqm.pdb"), work)
    shutil.rmtree(work)
    return charges + (total - charges.sum()) / len(charges)


def extended_conformer(mol: Chem.Mol) -> Chem.Mol:
    """A copy with one conformer: of 30, relaxed without electrostatics, that whose charges interact least.

    The measure is the Coulomb energy of the absolute MMFF94 charges, beyond two bonds.

    Raises
    ------
    StageError
        No conformer is found.
    """
    copy = Chem.Mol(mol)
    settings = AllChem.ETKDGv3()
    settings.randomSeed, settings.useRandomCoords = _SEED, True
    ids = list(AllChem.EmbedMultipleConfs(copy, _CONFORMERS, settings))
    properties = AllChem.MMFFGetMoleculeProperties(copy)
    if not ids or properties is None:
        raise StageError(
            "parameters", f"no conformer with MMFF94 parameters for '{Chem.MolToSmiles(Chem.RemoveHs(mol))}'"
        )
    properties.SetMMFFEleTerm(False)
    charges = np.abs([properties.GetMMFFPartialCharge(i) for i in range(copy.GetNumAtoms())])
    beyond = Chem.GetDistanceMatrix(copy) > 2
    interaction = {}
    for number in ids:
        AllChem.MMFFGetMoleculeForceField(copy, properties, confId=number).Minimize(maxIts=1000)
        xyz = copy.GetConformer(number).GetPositions()
        distance = cdist(xyz, xyz)
        interaction[number] = float((np.outer(charges, charges)[beyond] / distance[beyond]).sum())
    best = min(interaction, key=interaction.get)
    for number in ids:
        if number != best:
            copy.RemoveConformer(number)
    return copy


def missing_library() -> str:
    """The system library that ``sqm`` does not find; empty if it starts.

    Raises
    ------
    StageError
        The programs themselves are not there.
    """
    home = amber_home()
    program = home / "bin" / "sqm"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(program)],
            cwd=folder,
            env=program_environment(home),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    missing = re.search(r"(?:shared libraries|Library not loaded): ([^\s:]+)", done.stderr)
    return Path(missing[1]).name if missing else ""


def _optimised(pdb: Path) -> np.ndarray:
    """Positions (n x 3, angstrom) after the AM1 optimisation."""
    lines = pdb.read_text().splitlines() if pdb.is_file() else []
    return np.array(
        [[float(line[i : i + 8]) for i in (30, 38, 46)] for line in lines if line.startswith(("ATOM", "HETATM"))]
    )


def _check_bonds(mol: Chem.Mol, after: np.ndarray, work: Path) -> None:
    """No bond may break, no proton may jump: in the gas phase an ammonium group gives its proton to a carboxylate."""
    before = mol.GetConformer().GetPositions()
    if len(after) != len(before):
        raise StageError("parameters", "sqm left no optimised structure", where=str(work))
    for bond in mol.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        lengths = [float(np.linalg.norm(xyz[i] - xyz[j])) for xyz in (before, after)]
        if lengths[1] > _STRETCHED * lengths[0]:
            atoms = "-".join(f"{mol.GetAtomWithIdx(k).GetSymbol()}{k + 1}" for k in (i, j))
            raise StageError(
                "parameters",
                f"the AM1 optimisation broke the bond {atoms} ({lengths[1]:.2f} A): this state is not stable in the "
                "gas phase; use NAGL charges (charges: nagl)", where=str(work),
            )  # fmt: skip


def _processor_seconds() -> float:
    """Of this process and of the programs it has run."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def record_of(ligand: Ligand, folder: Path) -> Am1bccRecord:
    """Compute the record of one ligand; raises ``StageError``."""
    mol = Chem.AddHs(Chem.MolFromSmiles(ligand.smiles))
    started = _processor_seconds()
    charges = compute(mol, folder)
    return Am1bccRecord(
        ligand.name, ligand.inchikey, ligand.smiles, tuple(round(float(q), 6) for q in charges), METHOD,
        {name: version(name) for name in ("acpype", "rdkit")}, round(_processor_seconds() - started, 1),
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute the catalogue's charges, smallest ligand first; what is there already stays."""
    from esr1md.ligand.catalogue import catalogue_ligands

    parser = argparse.ArgumentParser(prog="python -m esr1md.ligand.am1bcc", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for INCHIKEY.json")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for ligand in sorted(catalogue_ligands(), key=lambda entry: len(entry.smiles)):
        path = options.out / f"{ligand.inchikey}.json"
        if path.is_file() and json.loads(path.read_text())["method"] == METHOD:
            continue
        try:
            with tempfile.TemporaryDirectory() as folder:
                record = record_of(ligand, Path(folder))
        except StageError as error:
            print(f"{ligand.name}: {error}", file=sys.stderr, flush=True)
            failed += 1
            continue
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
        print(f"{ligand.name}: {record.seconds:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
