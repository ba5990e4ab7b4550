"""GAFF2 parameters of one ligand as a self-contained OpenMM force-field file.

ParmEd reads ``gaff2.dat`` and the ``frcmod`` of ``parmchk2`` and writes OpenMM's XML of what the ligand uses;
here every type and class name gets a prefix so that the file can be loaded beside ``amber14`` or any other
force field, and the residue template ``LIG`` with its charges is added.

Energies equal those of a topology made by Amber's tleap (tests/ligand/test_parameters.py) to 0.01 kJ/mol for
each of the 34 catalogued ligands but one: where an improper torsion has two atoms of the same type, either
order of them is right, and amcenestrant's differs by 0.06 kJ/mol.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING

from rdkit import Chem

from esr1md.errors import StageError
from esr1md.ligand.ambertools import gaff2_data

if TYPE_CHECKING:
    from parmed.amber import AmberParameterSet

RESIDUE_NAME = "LIG"
TYPE_PREFIX = "gaff2-"

#: A torsion line: four types, divider, barrier, phase, periodicity. (Impropers have no divider.)
_TORSION = re.compile(r"^(..-..-..-..) +\d+ +-?[\d.]+ +-?[\d.]+ +(-?[\d.]+)")

#: GAFF2's scaling of 1-4 interactions; the same numbers as amber14's, which OpenMM insists on.
COULOMB_14, LENNARD_JONES_14 = 0.8333333333333334, 0.5


def write_forcefield(
    mol: Chem.Mol, atom_names: list[str], types: list[str], charges: list[float], frcmod: Path, path: Path
) -> None:
    """Write ``path`` (OpenMM ForceField XML) with the residue template ``LIG``.

    Parameters
    ----------
    mol
        Ligand with explicit hydrogens (elements and bonds).
    atom_names, types, charges
        One per atom: unique name, GAFF2 type, partial charge (e).
    frcmod
        Parameters that ``gaff2.dat`` lacks.
    path
        File to write.

    Raises
    ------
    StageError
        A parameter is in neither file.
    """
    root = _parameters_xml(frcmod, set(types))
    _check_types(root, types)
    for element in root.iter():
        for key in [k for k in element.attrib if k.rstrip("1234") in ("type", "class")]:
            if element.attrib[key]:
                element.attrib[key] = TYPE_PREFIX + element.attrib[key]
    used = {TYPE_PREFIX + name for name in types}
    elements = {TYPE_PREFIX + t: atom.GetSymbol() for atom, t in zip(mol.GetAtoms(), types, strict=True)}
    for atom_type in list(root.find("AtomTypes")):
        atom_type.attrib["name"] = TYPE_PREFIX + atom_type.attrib["name"]
        if atom_type.attrib["name"] not in used:
            root.find("AtomTypes").remove(atom_type)
            continue
        # ParmEd guesses the element from the mass; the molecule knows it (implicit solvent radii rest on it)
        atom_type.attrib["element"] = elements[atom_type.attrib["name"]]
    residues = ElementTree.Element("Residues")
    residue = ElementTree.SubElement(residues, "Residue", name=RESIDUE_NAME)
    for name, kind, charge in zip(atom_names, types, charges, strict=True):
        ElementTree.SubElement(residue, "Atom", name=name, type=TYPE_PREFIX + kind, charge=f"{charge:.8f}")
    for bond in mol.GetBonds():
        ElementTree.SubElement(
            residue, "Bond", atomName1=atom_names[bond.GetBeginAtomIdx()], atomName2=atom_names[bond.GetEndAtomIdx()]
        )
    root.insert(list(root).index(root.find("AtomTypes")) + 1, residues)
    if (info := root.find("Info")) is not None:
        root.remove(info)  # it holds a date, and equal input must give an equal file
    nonbonded = root.find("NonbondedForce")
    nonbonded.set("coulomb14scale", repr(COULOMB_14))
    nonbonded.set("lj14scale", repr(LENNARD_JONES_14))
    for atom in nonbonded.findall("Atom"):
        atom.attrib.pop("charge", None)
        if (atom.get("type") or atom.get("class")) not in used:
            nonbonded.remove(atom)
    if nonbonded.find("UseAttributeFromResidue") is None:
        nonbonded.insert(0, ElementTree.Element("UseAttributeFromResidue", name="charge"))
    ElementTree.indent(root)
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8") + b"\n")


def _parameters_xml(frcmod: Path, types: set[str]) -> ElementTree.Element:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from parmed.amber import AmberParameterSet
        from parmed.openmm import OpenMMParameterSet

        try:
            everything = AmberParameterSet(_first_definitions(gaff2_data(), frcmod.parent), str(frcmod))
            _keep_types(everything, types)
            parameters = OpenMMParameterSet.from_parameterset(everything)
            text = io.StringIO()
            # "amber" makes OpenMM choose the atom order of an improper as Amber's tleap does
            parameters.write(text, improper_dihedrals_ordering="amber")
        except Exception as error:
            raise StageError(
                "parameters", f"GAFF2 parameters cannot be read by ParmEd ({error})", where=str(frcmod)
            ) from error
    return ElementTree.fromstring(text.getvalue())


def _first_definitions(gaff2: Path, folder: Path) -> str:
    """A copy of ``gaff2.dat`` without the second definition of a torsion.

    The file defines a few torsions twice (``c3-c3-n-c``). tleap keeps the first, ParmEd would take the last.
    """
    kept, finished, current = [], set(), None
    for line in gaff2.read_text().splitlines():
        if match := _TORSION.match(line):
            atoms = tuple(name.strip() for name in match.group(1).split("-"))
            key = min(atoms, atoms[::-1])
            if key != current and current is not None:
                finished.add(current)
            if key in finished:
                continue
            current = key
            if float(match.group(2)) > 0:  # a negative periodicity announces a further term
                finished.add(key)
                current = None
        kept.append(line)
    path = folder / "gaff2.dat"
    path.write_text("\n".join(kept) + "\n")
    return str(path)


def _keep_types(parameters: AmberParameterSet, types: set[str]) -> None:
    """Drop from a parameter set all that names an atom type not in ``types`` (``X`` is any type)."""
    allowed = types | {"X"}
    for table in (
        parameters.bond_types,
        parameters.angle_types,
        parameters.dihedral_types,
        parameters.improper_periodic_types,
    ):
        for key in [key for key in table if not allowed.issuperset(key)]:
            del table[key]
    for name in [name for name in parameters.atom_types if name not in types]:
        del parameters.atom_types[name]
    for name in [name for name in parameters.atom_types_tuple if name[0] not in types]:
        del parameters.atom_types_tuple[name]


def _check_types(root: ElementTree.Element, types: list[str]) -> None:
    known = {t.get("name") for t in root.find("AtomTypes")}
    missing = sorted(set(types) - known)
    if missing:
        raise StageError("parameters", f"parmchk2 gave no parameters for GAFF2 types {', '.join(missing)}")
