"""The files of a replica: frames and energies as they come, the rest at the end."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import openmm
import pandas
from openmm import app, unit

from esr1md.complex import Complex
from esr1md.dynamics.protocol import Protocol
from esr1md.dynamics.region import Subsystem
from esr1md.errors import StageError

TRAJECTORY, ENERGIES, GROWING = "trajectory.xtc", "energies.parquet", "energies.csv"
SYSTEM, FINAL_STATE, HILLS = "system.xml.gz", "state.xml.gz", "helix12_hills.csv"

#: Columns of ``energies.parquet``: time within the stage; lengths of the box vectors and the volume are missing without
#: a periodic box.
BOX_COLUMNS = ("box_a_nm", "box_b_nm", "box_c_nm", "volume_nm3")
COLUMNS = ("stage", "time_ps", "potential_kj", "kinetic_kj", "temperature_kelvin", *BOX_COLUMNS)


class Writer:
    """Frames and energies of a replica.

    Parameters
    ----------
    folder
        Where they go; a run that goes on finds its files there, cut back to its checkpoint.
    frames
        Frames that are there already.
    """

    def __init__(self, complex_: Complex, sub: Subsystem, protocol: Protocol, folder: Path, frames: int) -> None:
        self._reference, self._sub, self._solute = complex_.positions, sub, complex_.solute_atoms
        self._protocol, self.folder = protocol, folder
        self._topology = solute_topology(complex_)
        self._xtc: app.XTCFile | None = None
        self._goes_on = frames > 0
        path = folder / GROWING
        new = not path.is_file()
        self._energies = open(path, "a", newline="")
        self._table = csv.writer(self._energies)
        if new:
            self._table.writerow(COLUMNS)

    def energies(self, stage: str, time_ps: float, state: openmm.State, temperature: float) -> None:
        """A row of energies; ``temperature`` is the kinetic one (kelvin)."""
        box = [""] * len(BOX_COLUMNS)
        if self._protocol.solvent.explicit:
            vectors = state.getPeriodicBoxVectors(asNumpy=True)._value
            box = [f"{value:.5f}" for value in (*np.linalg.norm(vectors, axis=1), abs(np.linalg.det(vectors)))]
        potential, kinetic = state.getPotentialEnergy()._value, state.getKineticEnergy()._value
        self._table.writerow(
            [stage, f"{time_ps:.4f}", f"{potential:.4f}", f"{kinetic:.4f}", f"{temperature:.2f}", *box]
        )

    def frame(self, positions: np.ndarray, box: np.ndarray) -> None:
        """A frame of the whole solute: ``positions`` (n, 3) of what is simulated, in nm; ``box`` (3, 3), nm.

        Raises
        ------
        OSError
            The frame could not be written whole (a full disk).
        """
        whole = self._reference.copy()
        whole[self._sub.atoms] = positions
        if self._xtc is None:
            interval = self._protocol.steps(self._protocol.production.frame_ps)
            step_ps = self._protocol.time_step_fs / 1000 * unit.picosecond
            self._xtc = app.XTCFile(
                str(self.folder / TRAJECTORY),
                self._topology,
                step_ps,
                firstStep=interval,
                interval=interval,
                append=self._goes_on,
            )
        periodic = self._protocol.solvent.explicit
        vectors = [openmm.Vec3(*row) for row in box] * unit.nanometer if periodic else None
        self._xtc.writeModel(whole[self._solute] * unit.nanometer, periodicBoxVectors=vectors)

    def sizes(self) -> dict[str, int]:
        """Bytes of the growing files, all that was written included."""
        self._energies.flush()
        paths = (self.folder / name for name in (GROWING, TRAJECTORY))
        return {path.name: path.stat().st_size for path in paths if path.is_file()}

    def close(self) -> None:
        """Write the energies as ``energies.parquet`` too; what they grew in stays for as long as the checkpoints do."""
        self._energies.close()
        table = pandas.read_csv(self.folder / GROWING)
        table.to_parquet(self.folder / ENERGIES, index=False)

    def abandon(self) -> None:
        """Close what is open; the files stay as they are."""
        self._energies.close()


def write_system(system: openmm.System, path: Path) -> str:
    """Write a System as gzipped XML and return the XML; the same System always gives the same bytes."""
    text = openmm.XmlSerializer.serialize(system)
    write_gzip(path, text)
    return text


def write_state(context: openmm.Context, path: Path) -> None:
    """Write positions, velocities, box and time of a context as gzipped XML."""
    state = context.getState(positions=True, velocities=True, parameters=True)
    write_gzip(path, openmm.XmlSerializer.serialize(state))


def write_gzip(path: Path, text: str) -> None:
    """Write text gzipped, without a time stamp."""
    path.write_bytes(gzip.compress(text.encode(), 6, mtime=0))


def write_pdb(complex_: Complex, positions: np.ndarray, path: Path) -> None:
    """Write the solute (receptor and ligand, no water) of a complex as PDB; ``positions`` (n, 3) in nm."""
    solute = complex_.solute_atoms
    with open(path, "w") as handle:
        app.PDBFile.writeFile(solute_topology(complex_), positions[solute] * unit.nanometer, handle, keepIds=True)


def solute_topology(complex_: Complex) -> app.Topology:
    """The topology of receptor and ligand alone, with the periodic box."""
    solute = complex_.solute_atoms
    if len(solute) == complex_.topology.getNumAtoms():
        return complex_.topology
    if not np.array_equal(solute, np.arange(len(solute))):
        raise StageError("complex", "receptor and ligand are not the first atoms of the complex")
    modeller = app.Modeller(complex_.topology, complex_.positions * unit.nanometer)
    modeller.delete([atom for atom in complex_.topology.atoms() if atom.index >= len(solute)])
    return modeller.topology
