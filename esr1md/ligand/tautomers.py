"""One tautomer for each compound, so that two drawings of it are one ligand.

RDKit's scoring (MolStandardize) with proton shifts between heteroatoms only, see ``tautomers.txt``. A form that
would cost a stereocentre or an aromatic ring is never taken: then the molecule stays as it is drawn.
"""

from __future__ import annotations

import functools
from pathlib import Path

from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize

#: What RDKit's score does not know: imidic acids are not drawn, the N-H of an indazole or benzotriazole is on N1.
_PENALTIES = tuple(
    (Chem.MolFromSmarts(smarts), penalty)
    for smarts, penalty in (("[OX2H,SX2H][CX3]=[NX2]", 10), ("[nH;r5]1[n,c]c2[c,n][c,n][c,n][c,n]c2[n,c]1", 5))
)
_MOST_FORMS = 200


def canonical_tautomer(mol: Chem.Mol) -> tuple[Chem.Mol, bool]:
    """The tautomer to simulate and whether it differs from the one given.

    Parameters
    ----------
    mol
        One neutral molecule, hydrogens implicit.
    """
    with rdBase.BlockLogs():
        try:
            best = _enumerator().Canonicalize(mol, _score)
            Chem.SanitizeMol(best)
            best = Chem.MolFromSmiles(Chem.MolToSmiles(best))
        except (RuntimeError, ValueError):  # a form RDKit cannot kekulize: the drawn one serves
            return mol, False
    if best is None or _worth(best) < _worth(mol) or Chem.MolToSmiles(best) == Chem.MolToSmiles(mol):
        return mol, False
    return best, True


@functools.cache
def _enumerator() -> rdMolStandardize.TautomerEnumerator:
    settings = rdMolStandardize.CleanupParameters()
    settings.tautomerTransformsFile = str(Path(__file__).with_name("tautomers.txt"))
    settings.tautomerRemoveSp3Stereo = settings.tautomerRemoveBondStereo = False
    settings.tautomerReassignStereo = True
    settings.maxTautomers = settings.maxTransforms = _MOST_FORMS
    return rdMolStandardize.TautomerEnumerator(settings)


def _score(mol: Chem.Mol) -> int:
    found = sum(penalty * len(mol.GetSubstructMatches(pattern)) for pattern, penalty in _PENALTIES)
    return rdMolStandardize.TautomerEnumerator.ScoreTautomer(mol) - found


def _worth(mol: Chem.Mol) -> tuple[int, int]:
    """Stereocentres and stereo double bonds that are set, and aromatic atoms."""
    set_stereo = sum(info.specified == Chem.StereoSpecified.Specified for info in Chem.FindPotentialStereo(mol))
    return set_stereo, sum(atom.GetIsAromatic() for atom in mol.GetAtoms())
