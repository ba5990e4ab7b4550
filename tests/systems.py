"""Small real systems that several test files simulate or score: built once per test process."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from rdkit import Chem

from esr1md.catalogue import data_path
from esr1md.complex import Complex, build_complex
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol, load_protocol
from esr1md.ligand.parameters import LigandParameters, parametrise
from esr1md.receptor.frame import bundled_model
from esr1md.specs import Ligand

CPU = PlatformChoice("CPU", {"Threads": "1", "DeterministicForces": "true"}, "test")


def tiny_protocol(**changes) -> Protocol:
    """The quick protocol cut to a fifth of a picosecond; ``changes`` replace top-level keys."""
    data = load_protocol("quick").model_dump(mode="json")
    data["name"] = "tiny"
    data["stages"] = [
        {
            "kind": "minimise",
            "iterations": 40,
            "solvent": False,
            "restrain": {"selection": "protein-heavy", "kcal_per_angstrom2": 5},
        },
        {"kind": "heat", "from_kelvin": 150, "duration_ps": 0.08},
        {"kind": "produce", "duration_ps": 0.12, "frame_ps": 0.04},
    ]
    return Protocol(**(data | changes))


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="esr1md-test-"))


@cache
def hydroxytamoxifen() -> tuple[LigandParameters, Path]:
    """4-hydroxytamoxifen's parameters, and its crystal pose (3ERT) in the parametrised atom order."""
    reference = Chem.MolFromMolFile(str(data_path("structures") / "poses" / "3ERT_OHT.sdf"), removeHs=False)
    smiles = Chem.MolToSmiles(Chem.RemoveHs(reference))
    ligand = Ligand("4-hydroxytamoxifen", smiles, Chem.MolToInchiKey(reference), 1, "SERM")
    folder = _folder() / "oht"
    folder.mkdir()
    parameters = parametrise(ligand, folder)
    molecule = next(iter(Chem.SDMolSupplier(str(parameters.sdf), removeHs=False)))
    conformer = molecule.GetConformer()
    for ours, theirs in enumerate(reference.GetSubstructMatch(molecule)):
        conformer.SetAtomPosition(ours, reference.GetConformer().GetAtomPosition(theirs))
    pose = folder / "pose.sdf"
    with Chem.SDWriter(str(pose)) as writer:
        writer.write(molecule)
    return parameters, pose


@cache
def hydroxytamoxifen_complex() -> Complex:
    """4-hydroxytamoxifen in the bundled antagonist model, quick protocol's force field."""
    parameters, pose = hydroxytamoxifen()
    return build_complex(bundled_model("antagonist"), parameters, pose, load_protocol("quick"))


@cache
def apo_complex() -> Complex:
    """The bundled agonist model without a ligand."""
    return build_complex(bundled_model("agonist"), None, None, load_protocol("quick"))
