"""The dominant protonation state of a user's ligand at pH 7.4.

Dimorphite-DL (Ropp 2019) knows the mean pKa of some forty kinds of site. Three times it is wrong by enough
to change the state of compounds in this field; that is corrected here, with a note for the reader:

- phenols: its mean (7.1) is drawn down by nitrophenols; an ordinary phenol (pKa near 10) is neutral;
- amines beside fluorine: CF2 next but one to the nitrogen takes 3 to 5 units off the pKa, and one fluorine
  does the same on a hindered benzhydryl-like ring amine (AZD9496, palazestrant);
- two amines two carbons apart (piperazine): sites are independent to Dimorphite, but the second proton costs
  4 units.
"""

from __future__ import annotations

from rdkit import Chem

from esr1md.errors import InputError

PH = 7.4

_PHENOLATE = Chem.MolFromSmarts("[OX1-]c")
_NITRO_PHENOLATE = Chem.MolFromSmarts(
    "[OX1-;$(Oc:c[N+](=O)[O-]),$(Oc:[c,n]:[c,n]:c[N+](=O)[O-]),$(Oc(:c[F,Cl,Br,I]):c[F,Cl,Br,I])]")
_BETA_DIFLUORO = Chem.MolFromSmarts("[NX4+;!H0][CX4][CX4](F)F")
_HINDERED_BETA_FLUORO = Chem.MolFromSmarts("[NX4+;H1]([CX4][CX4]F)[CX4;H1]c")
_TWO_AMMONIUMS = Chem.MolFromSmarts("[NX4+;!H0][CX4][CX4][NX4+;!H0]")


def dominant_state(mol: Chem.Mol) -> tuple[Chem.Mol, list[str]]:
    """The dominant state at pH 7.4 and one sentence for each thing that changed.

    A molecule that already carries a charge (other than the +/- pair of a nitro group or an N-oxide) is taken
    as it is: whoever wrote a charge has chosen the state.

    Parameters
    ----------
    mol
        One molecule, stereochemistry defined.

    Returns
    -------
    Chem.Mol
        The state, hydrogens implicit.
    list[str]
        What changed, or that nothing did.

    Raises
    ------
    InputError
        Dimorphite-DL returns nothing for this molecule.
    """
    if any(_is_ion(atom) for atom in mol.GetAtoms()):
        return mol, [f"Charges as given ({_total(mol)}); not changed to pH {PH}."]
    from dimorphite_dl import protonate_smiles

    found = protonate_smiles(Chem.MolToSmiles(mol), ph_min=PH, ph_max=PH, precision=0.0)
    state = Chem.MolFromSmiles(found[0]) if found else None
    if state is None:
        raise InputError(f"no protonation state at pH {PH} found for '{Chem.MolToSmiles(mol)}'",
                         do="write the charged form yourself; it is then taken as it is")
    notes: list[str] = []
    _keep_phenols_neutral(state, notes)
    _keep_fluorinated_amines_neutral(state, notes)
    _keep_one_of_two_amines(state, notes)
    Chem.SanitizeMol(state)
    state = Chem.MolFromSmiles(Chem.MolToSmiles(state))
    changed = [_describe(atom) for atom in state.GetAtoms() if _is_ion(atom)]
    summary = ", ".join(changed) if changed else "no charged group"
    return state, [f"State at pH {PH} (Dimorphite-DL): {summary}; {_total(state)}.", *notes]


def _is_ion(atom: Chem.Atom) -> bool:
    """Whether the atom is charged and not only to write a bond (N+ - O- of a nitro group, S+ - O-)."""
    charge = atom.GetFormalCharge()
    paired = any(neighbour.GetFormalCharge() * charge < 0 for neighbour in atom.GetNeighbors())
    return bool(charge) and not paired


def _total(mol: Chem.Mol) -> str:
    charge = Chem.GetFormalCharge(mol)
    return f"charge {charge:+d}" if charge else "charge 0"


def _describe(atom: Chem.Atom) -> str:
    symbol, charge = atom.GetSymbol(), atom.GetFormalCharge()
    neighbours = atom.GetNeighbors()
    if symbol == "N" and charge > 0:
        if atom.GetIsAromatic():
            return "protonated aromatic N"
        if atom.GetHybridization() == Chem.HybridizationType.SP3:
            kind = {3: "primary", 2: "secondary", 1: "tertiary"}.get(atom.GetTotalNumHs(), "quaternary")
            return f"protonated {kind} amine" if atom.GetTotalNumHs() else "quaternary ammonium"
        return "protonated amidine or imine"
    if symbol == "O" and charge < 0 and neighbours:
        centre = neighbours[0]
        if centre.GetIsAromatic():
            return "phenolate"
        return {"C": "carboxylate", "S": "sulfonate", "P": "phosphate"}.get(centre.GetSymbol(), "oxide")
    return f"{symbol}{charge:+d}"


def _shift(atom: Chem.Atom, by: int) -> None:
    """Change charge and hydrogens together (a proton added or taken)."""
    hydrogens = atom.GetTotalNumHs()
    atom.SetFormalCharge(atom.GetFormalCharge() + by)
    atom.SetNoImplicit(True)
    atom.SetNumExplicitHs(hydrogens + by)


def _keep_phenols_neutral(state: Chem.Mol, notes: list[str]) -> None:
    acidic = {match[0] for match in state.GetSubstructMatches(_NITRO_PHENOLATE)}
    phenols = {match[0] for match in state.GetSubstructMatches(_PHENOLATE)} - acidic
    for index in phenols:
        _shift(state.GetAtomWithIdx(index), +1)
    if phenols:
        notes.append("Phenol kept neutral (pKa near 10; Dimorphite's mean for phenols is 7.1).")


def _keep_fluorinated_amines_neutral(state: Chem.Mol, notes: list[str]) -> None:
    amines = {match[0] for pattern in (_BETA_DIFLUORO, _HINDERED_BETA_FLUORO)
              for match in state.GetSubstructMatches(pattern)}
    for index in amines:
        _shift(state.GetAtomWithIdx(index), -1)
    if amines:
        notes.append("Amine beside fluorinated carbon kept neutral (beta-fluorine lowers its pKa below 7).")


def _keep_one_of_two_amines(state: Chem.Mol, notes: list[str]) -> None:
    while match := state.GetSubstructMatch(_TWO_AMMONIUMS):
        first, last = (state.GetAtomWithIdx(match[i]) for i in (0, -1))
        # the nitrogen with more hydrogens is the better base in water; ties go to the earlier atom
        _shift(last if first.GetTotalNumHs() >= last.GetTotalNumHs() else first, -1)
        notes.append("Only one of two amines two carbons apart is protonated.")
