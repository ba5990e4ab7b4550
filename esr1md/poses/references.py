"""Reference poses: crystal ligands of ER-alpha in one common frame, the starting points of every placement.

The prepared copies live in ``structures/poses/`` and are made from a folder of PDB entries by ::

    python -m esr1md.poses.references --from PDB_FOLDER --out structures/poses

Heavy atoms are those of the crystal, superposed on the core C-alpha atoms of 3ERT chain A. Bond orders come
from the SMILES below (a perceived bond order is wrong in some converted files: 5UFX's chromene reads as a
chroman, 5DRJ's thiophene as a ring with two C=S bonds), stereochemistry from the coordinates, hydrogens from RDKit.
One restrained MMFF94s minimisation follows: heavy atoms may move 0.3 angstrom before a force holds them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import gemmi
import numpy as np
import yaml
from rdkit import Chem
from rdkit.Chem import AllChem, rdForceFieldHelpers

from esr1md.catalogue import data_path
from esr1md.errors import InputError
from esr1md.receptor.frame import alpha_carbons, superpose_core
from esr1md.specs import HelixState, file_digest

#: C-alpha atoms that line the pocket, kept in ``poses.yaml`` so that a receptor's frame can be found and checked.
FRAME_RESIDUES = (346, 347, 349, 350, 351, 353, 384, 387, 388, 391, 394, 404, 428, 521, 524, 525)

#: Heavy atoms further than this (angstrom) from the crystal are held by :data:`RELAX_FORCE` (kcal/mol/angstrom^2).
RELAX_FREE, RELAX_FORCE = 0.3, 50.0


@dataclass(frozen=True)
class Source:
    """Where one reference pose comes from; ``smiles`` gives bond orders and charges, its stereo marks are checked."""

    name: str
    ligand: str
    state: str
    entry: str
    chain: str
    residue: str
    smiles: str


_ESTRADIOL = "C[C@]12CC[C@@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O"

#: One line for each pose. A stereo-free SMILES takes its stereochemistry from the crystal.
SOURCES = (
    Source(
        "3ERT_OHT",
        "4-hydroxytamoxifen",
        "antagonist",
        "3ERT",
        "A",
        "OHT",
        r"CC/C(=C(\c1ccc(O)cc1)c1ccc(OCC[NH+](C)C)cc1)c1ccccc1",
    ),
    Source(
        "1ERR_RAL",
        "raloxifene",
        "antagonist",
        "1ERR",
        "A",
        "RAL",
        "O=C(c1ccc(OCC[NH+]2CCCCC2)cc1)c1c(-c2ccc(O)cc2)sc2cc(O)ccc12",
    ),
    Source(
        "1XPC_AIT", "AIT", "antagonist", "1XPC", "A", "AIT", "Oc1ccc(cc1)C1Sc2cc(O)ccc2OC1c1ccc(OCC(C)[NH+]2CCCC2)cc1"
    ),
    Source(
        "2OUZ_C3D",
        "lasofoxifene",
        "antagonist",
        "2OUZ",
        "A",
        "C3D",
        "Oc1ccc2c(c1)CC[C@H](c1ccccc1)[C@@H]2c1ccc(OCC[NH+]2CCCC2)cc1",
    ),
    Source(
        "1SJ0_E4D", "E4D", "antagonist", "1SJ0", "A", "E4D", "Oc1ccc(cc1)C1Sc2cc(O)ccc2OC1c1ccc(OCC[NH+]2CCCCC2)cc1"
    ),
    Source(
        "5UFX_86Y",
        "OP-1154",
        "antagonist",
        "5UFX",
        "A",
        "ligand",
        "CC1CC[NH+](CCOc2ccc(cc2)C2Oc3cc(O)ccc3C(C)=C2c2ccc(O)cc2)C1",
    ),
    Source(
        "1XQC_AEJ",
        "AEJ",
        "antagonist",
        "1XQC",
        "A",
        "ligand",
        "Oc1ccc2c(c1)CCN(c1ccccc1)C2c1ccc(cc1)N1CC[NH+]2CCCCC2C1",
    ),
    Source(
        "2IOK_IOK", "IOK", "antagonist", "2IOK", "A", "ligand", "CC(CCc1ccc(O)cc1)NC(=O)Cc1c(-c2ccccc2)[nH]c2ccccc12"
    ),
    Source("2POG_WST", "WST", "antagonist", "2POG", "A", "ligand", "Oc1ccc(cc1)C1Oc2cccc(O)c2C2CCCC21"),
    Source(
        "6B0F_C6V",
        "LSZ102",
        "displaced",
        "6B0F",
        "A",
        "ligand",
        "CC(F)(F)c1cc(F)ccc1-c1sc2cc(O)ccc2c1Oc1ccc(/C=C/C(=O)[O-])cc1",
    ),
    Source(
        "5T92_77W",
        "77W",
        "displaced",
        "5T92",
        "A",
        "ligand",
        "C[C@@]1(c2ccc(/C=C/C(=O)[O-])cc2)c2ccc(O)cc2CCN1c1ccc(F)cc1",
    ),
    Source("5WGD_EST", "estradiol", "agonist", "5WGD", "A", "EST", _ESTRADIOL),
    Source("1QKU_EST", "estradiol", "agonist", "1QKU", "A", "EST", _ESTRADIOL),
    Source(
        "2P15_EZT",
        "EZT",
        "agonist",
        "2P15",
        "A",
        "ligand",
        r"C[C@]12CC[C@@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@]2(O)/C=C/c1ccccc1C(F)(F)F",
    ),
    Source("1L2I_ETC", "THC", "agonist", "1L2I", "A", "ligand", "CCC1Cc2cc(O)ccc2C2=C1c1ccc(O)cc1CC2CC"),
    Source(
        "2QR9_HZ3", "HZ3", "agonist", "2QR9", "A", "ligand", "COC(=O)C1=C(C(=O)OC)C2OC1C(c1ccc(O)cc1)=C2c1ccc(O)cc1"
    ),
    Source("2QSE_1HP", "4-hydroxy-PhIP", "agonist", "2QSE", "A", "ligand", "Cn1c(N)nc2ncc(-c3ccc(O)cc3)cc21"),
    Source("4PPS_OB8", "A-CD estrogen", "agonist", "4PPS", "A", "ligand", "CC12CCC(c3ccc(O)cc3)CC1CCC2O"),
    Source(
        "5DRJ_5EU",
        "dichloro-thiophene diphenol",
        "agonist",
        "5DRJ",
        "A",
        "ligand",
        "Cc1cc(-c2ccc(O)cc2Cl)sc1-c1ccc(O)cc1Cl",
    ),
    Source(
        "5DZI_5KG", "cyclofenil analogue", "agonist", "5DZI", "A", "ligand", "OCCC1CCCC(=C(c2ccc(O)cc2)c2ccc(O)cc2)C1"
    ),
)


@dataclass(frozen=True)
class Reference:
    """One prepared reference pose.

    Attributes
    ----------
    name, ligand, state
        ``3ERT_OHT``, ``4-hydroxytamoxifen``, the helix-12 state of its crystal.
    mol
        RDKit molecule with hydrogens and one conformer, in the common frame (angstrom).
    """

    name: str
    ligand: str
    state: HelixState
    mol: Chem.Mol


@lru_cache(maxsize=4)
def _document(folder: Path) -> dict:
    return yaml.safe_load((folder / "poses.yaml").read_text())


def load_references(folder: Path | None = None) -> tuple[Reference, ...]:
    """Every reference pose of ``structures/poses`` (or ``folder``), in the order of ``poses.yaml``.

    Raises
    ------
    InputError
        If a file that ``poses.yaml`` lists is missing or unreadable.
    """
    folder = folder or data_path("structures") / "poses"
    found = []
    for entry in _document(folder)["poses"]:
        mol = Chem.MolFromMolFile(str(folder / entry["file"]), removeHs=False)
        if mol is None:
            raise InputError(
                f"reference pose '{entry['file']}' cannot be read",
                where=str(folder / "poses.yaml"),
                do="make it again with python -m esr1md.poses.references",
            )
        found.append(Reference(entry["name"], entry["ligand"], HelixState(entry["state"]), mol))
    return tuple(found)


def frame_atoms(folder: Path | None = None) -> dict[int, np.ndarray]:
    """C-alpha positions (3, angstrom) of :data:`FRAME_RESIDUES` in the common frame, by residue number."""
    folder = folder or data_path("structures") / "poses"
    return {int(number): np.array(xyz) for number, xyz in _document(folder)["frame"]["calpha_angstrom"].items()}


def find_entry_files(folder: Path, source: Source) -> tuple[Path, Path | None]:
    """The entry's coordinate file, and the separate ligand file when the entry comes split."""
    for pattern in (
        f"{source.entry}.cif",
        f"{source.entry}.pdb",
        f"{source.entry.lower()}.cif",
        f"{source.entry.lower()}.pdb",
    ):
        if (folder / pattern).exists():
            return folder / pattern, None
    for protein in sorted(folder.glob(f"*/{source.entry}_*_protein.pdb")):
        ligand = protein.with_name(protein.name.replace("_protein.pdb", "_ligand.sdf"))
        if ligand.exists():
            return protein, ligand
    raise InputError(
        f"entry {source.entry} not found",
        where=str(folder),
        expected=f"{source.entry}.cif, {source.entry}.pdb or */{source.entry}_*_protein.pdb + _ligand.sdf",
    )


def _heavy_ligand(source: Source, structure: Path, ligand: Path | None) -> Chem.Mol:
    """The crystal ligand's heavy atoms with single bonds where two atoms touch, ready for the template."""
    if ligand is not None:
        raw = Chem.MolFromMolFile(str(ligand), removeHs=False, sanitize=False)
        raw = Chem.RemoveAllHs(raw, sanitize=False)
        symbols, xyz = [a.GetSymbol() for a in raw.GetAtoms()], raw.GetConformer().GetPositions()
    else:
        residues = [
            r
            for chain in gemmi.read_structure(str(structure))[0]
            if chain.name == source.chain
            for r in chain
            if r.name == source.residue
        ]
        if not residues:
            raise InputError(f"no residue {source.residue} in chain {source.chain}", where=str(structure))
        best: dict[str, gemmi.Atom] = {}
        for atom in residues[0]:
            if atom.element.name != "H" and (atom.name not in best or atom.occ > best[atom.name].occ):
                best[atom.name] = atom
        symbols = [a.element.name.capitalize() for a in best.values()]
        xyz = np.array([a.pos.tolist() for a in best.values()])
    mol = Chem.RWMol()
    for symbol in symbols:
        mol.AddAtom(Chem.Atom(symbol))
    table = Chem.GetPeriodicTable()
    radius = np.array([table.GetRcovalent(s) for s in symbols])
    distance = np.linalg.norm(xyz[:, None] - xyz[None], axis=-1)
    for i, j in np.argwhere(np.triu(distance < radius[:, None] + radius[None] + 0.35, 1)):
        mol.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    conformer = Chem.Conformer(len(symbols))
    conformer.SetPositions(np.asarray(xyz, dtype=float))
    mol.AddConformer(conformer)
    for atom in mol.GetAtoms():
        atom.SetNoImplicit(False)
    return mol.GetMol()


def crystal_ligand(source: Source, structure: Path, ligand: Path | None) -> Chem.Mol:
    """The crystal ligand's heavy atoms where the entry has them, bond orders and charges from the SMILES.

    Raises
    ------
    InputError
        If its atoms do not match the SMILES, or its stereochemistry contradicts it.
    """
    template = Chem.MolFromSmiles(source.smiles)
    try:
        mol = AllChem.AssignBondOrdersFromTemplate(template, _heavy_ligand(source, structure, ligand))
    except ValueError as error:
        raise InputError(
            f"{source.name}: the crystal atoms do not match {source.smiles}: {error}", where=str(structure)
        ) from error
    Chem.SanitizeMol(mol)
    Chem.AssignStereochemistryFrom3D(mol, replaceExistingTags=True)
    for atom in mol.GetAtoms():  # an ammonium inverts; its crystal configuration is no identity
        if atom.GetAtomicNum() == 7:
            atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    smiles = Chem.MolToSmiles(mol)
    marked = any(c in source.smiles for c in "@/\\")
    if marked and Chem.CanonSmiles(source.smiles) != Chem.CanonSmiles(smiles):
        raise InputError(f"{source.name}: the crystal shows {smiles}", where=str(structure), expected=source.smiles)
    return mol


def prepare(source: Source, folder: Path, frame: dict[int, np.ndarray]) -> tuple[Chem.Mol, dict]:
    """One reference pose in the common frame and its line for ``poses.yaml``.

    Parameters
    ----------
    source
        What to prepare.
    folder
        PDB entries (``3ERT.pdb``, ``5WGD.cif``, or split ``*/2OUZ_ant_protein.pdb`` + ``_ligand.sdf``).
    frame
        Core C-alpha positions of 3ERT chain A.

    Raises
    ------
    InputError
        If the entry is missing, its atoms do not match the SMILES, or its stereochemistry contradicts it.
    """
    structure, ligand = find_entry_files(folder, source)
    model = gemmi.read_structure(str(structure))[0]
    own = alpha_carbons(model[source.chain] if ligand is None else model[0])
    rotation, translation, rmsd = superpose_core(own, frame, str(structure))
    mol = crystal_ligand(source, structure, ligand)
    mol.GetConformer().SetPositions(mol.GetConformer().GetPositions() @ rotation.T + translation)
    smiles = Chem.MolToSmiles(mol)
    mol = Chem.AddHs(mol, addCoords=True)
    before = mol.GetConformer().GetPositions()
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant="MMFF94s")
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties)
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    for index in heavy:
        field.MMFFAddPositionConstraint(index, RELAX_FREE, RELAX_FORCE)
    field.Initialize()
    field.Minimize(maxIts=2000)
    moved = float(np.sqrt(((mol.GetConformer().GetPositions() - before)[heavy] ** 2).sum(1).mean()))
    mol.SetProp("_Name", source.name)
    read = ligand or structure
    return mol, {
        "name": source.name,
        "file": f"{source.name}.sdf",
        "ligand": source.ligand,
        "state": source.state,
        "entry": source.entry,
        "chain": source.chain,
        "residue": source.residue,
        "smiles": smiles,
        "source_file": read.name,
        "source_sha256": file_digest(read),
        "superposed_rmsd_angstrom": round(rmsd, 2),
        "relaxed_rmsd_angstrom": round(moved, 2),
    }


def generate(folder: Path, out: Path) -> list[dict]:
    """Write every pose of :data:`SOURCES` and ``poses.yaml`` into ``out``; returns the lines of ``poses.yaml``."""
    out.mkdir(parents=True, exist_ok=True)
    frame = alpha_carbons(gemmi.read_structure(str(folder / "3ERT.pdb"))[0]["A"])
    lines = []
    for source in SOURCES:
        mol, line = prepare(source, folder, frame)
        Chem.MolToMolFile(mol, str(out / line["file"]))
        lines.append(line)
    document = {
        "about": "Crystal ligands in the common frame: wwPDB coordinates (CC0 1.0), some read through LIT-PCBA's "
        "copies (*_ligand.sdf; Tran-Nguyen et al. 2020), hydrogens added, relaxed by MMFF94s with heavy atoms "
        f"held beyond {RELAX_FREE} angstrom.",
        "made_by": "python -m esr1md.poses.references --from PDB_FOLDER --out structures/poses",
        "frame": {
            "entry": "3ERT",
            "chain": "A",
            "calpha_angstrom": {n: [round(float(x), 3) for x in frame[n]] for n in FRAME_RESIDUES},
        },
        "poses": lines,
    }
    (out / "poses.yaml").write_text(yaml.safe_dump(document, sort_keys=False, width=120, default_flow_style=None))
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Command line of the generator."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="folder with the PDB entries")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    chosen = parser.parse_args(arguments)
    for line in generate(chosen.folder, chosen.out):
        print(
            f"{line['name']:10s} {line['state']:10s} core {line['superposed_rmsd_angstrom']:.2f} A, relaxed by "
            f"{line['relaxed_rmsd_angstrom']:.2f} A  {line['smiles']}"
        )


if __name__ == "__main__":
    main()
