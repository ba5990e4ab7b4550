"""The networks. What they predict comes out in the users' units: the un-scaling is inside, so that no use forgets it.

Affinity: a kernel regression on Morgan counts says what the measured analogues say; an ensemble of message-passing
networks corrects it and says how far it may be off. Simulation scores: an ensemble of small networks on what a ligand
and a variant are, of which the mutant - wild type difference is zero for the wild type by construction.

Shapes: b molecules, n cells, m members, L ligand, V variant features, S helix-12 states, h hidden units.
"""

from __future__ import annotations

import math

import torch
from chemprop.featurizers.molgraph.molecule import BatchCuikMolGraph
from torch import Tensor, nn

from esr1md.surrogate.encoder import directed_bonds, message_passing

#: What the kernel regression says of a molecule, as the network reads it (kernel.py): scaled prediction, greatest and
#: mean of the five greatest similarities to the training compounds.
KERNEL_FEATURES = 3
#: What the simulation heads predict, in this order.
HEADS = ("binding", "binding_shift", "helix12", "helix12_shift")
#: The least standard deviation a head may claim, in standard deviations of what it was trained on.
LEAST_SD = 0.05


class AffinityNetwork(nn.Module):
    """One member: what is left of the affinity after the kernel regression, and how uncertain the sum is.

    Buffers ``mean`` and ``scale`` (pChEMBL) bring both to the units of the assay.
    """

    def __init__(self, width: int, depth: int = 3, dropout: float = 0.2) -> None:
        super().__init__()
        self.sizes = {"width": width, "depth": depth, "dropout": dropout}
        self.encode = message_passing(width, depth, dropout)
        self.read = nn.Sequential(
            nn.Linear(width + KERNEL_FEATURES, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 2)
        )
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, graphs: BatchCuikMolGraph, kernel: Tensor, bonds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Graphs of b molecules and (b, 3) kernel features -> correction and standard deviation (b,), (b,), pChEMBL."""
        features = torch.cat([(kernel[:, :1] - self.mean) / self.scale, kernel[:, 1:]], dim=1)
        correction, raw = self.read(torch.cat([self.encode(graphs, bonds), features], dim=1)).unbind(dim=1)
        return correction * self.scale, (nn.functional.softplus(raw) + LEAST_SD) * self.scale


class AffinityEnsemble(nn.Module):
    """Members that each left other scaffolds out of training."""

    def __init__(self, members: int, width: int, depth: int = 3, dropout: float = 0.2) -> None:
        super().__init__()
        self.members = nn.ModuleList(AffinityNetwork(width, depth, dropout) for _ in range(members))

    def forward(self, graphs: BatchCuikMolGraph, kernel: Tensor) -> tuple[Tensor, Tensor]:
        """Graphs of b molecules and (b, 3) kernel features -> corrections and standard deviations (m, b), (m, b)."""
        bonds = directed_bonds(graphs)
        corrections, deviations = zip(*(member(graphs, kernel, bonds) for member in self.members), strict=True)
        return torch.stack(corrections), torch.stack(deviations)


class SimulationEnsemble(nn.Module):
    """Cells -> binding and helix 12 of the wild type and what the mutation changes of both, with their deviations.

    Those of the wild type are ``base[state] + scale * network``. A shift is the network for the variant less the same
    network for the wild type, so it is zero for the wild type. It has a part that all ligands share, which reads
    variant and state only, and a part of the ligand's own, which is held back more: few ligands teach what all share
    before they teach what sets one apart.

    Buffers
    -------
    ligand_mean, ligand_weight : (L,)
    components : (L, k)
    variant_weight : (V,)
    base : (m, S, 4)
    scale : (4,)
    """

    def __init__(self, n_ligand: int, n_variant: int, n_states: int, n_components: int, members: int, hidden: int):
        super().__init__()
        self.sizes = {
            "n_ligand": n_ligand, "n_variant": n_variant, "n_states": n_states, "n_components": n_components,
            "members": members, "hidden": hidden,
        }  # fmt: skip
        for name, shape in (
            ("ligand_mean", (n_ligand,)),
            ("ligand_weight", (n_ligand,)),
            ("components", (n_ligand, n_components)),
            ("variant_weight", (n_variant,)),
            ("base", (members, n_states, len(HEADS))),
            ("scale", (len(HEADS),)),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.own = Layers(members, n_components + 1 + n_variant + n_states, hidden)
        self.shared = Layers(members, n_variant + n_states, hidden)
        self.deviation = nn.Parameter(torch.zeros(members, 1, len(HEADS), dtype=torch.float64))

    def start(self, generator: torch.Generator) -> None:
        """Random weights, every member its own."""
        self.own.start(generator)
        self.shared.start(generator)

    def encode(self, ligand: Tensor, variant: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Raw features (n, L), (n, V), (n, S) -> what the two parts read; NaN ligand is apo."""
        apo = torch.isnan(ligand).any(dim=1, keepdim=True)
        centred = torch.where(torch.isnan(ligand), torch.zeros_like(ligand), ligand - self.ligand_mean)
        reduced = (centred * self.ligand_weight) @ self.components
        changed = torch.cat([variant * self.variant_weight, state], dim=1)
        return torch.cat([reduced, apo.to(reduced.dtype), changed], dim=1), changed

    def scaled(self, ligand: Tensor, variant: Tensor, state: Tensor) -> Tensor:
        """Raw features -> predictions in standard deviations from the state's base: (m, n, 4)."""
        mutant, changed = self.encode(ligand, variant, state)
        wild, unchanged = self.encode(ligand, torch.zeros_like(variant), state)
        of_wild = self.own(wild)
        shift = self.own(mutant) - of_wild + self.shared(changed) - self.shared(unchanged)
        return torch.where(torch.tensor([head.endswith("shift") for head in HEADS]), shift, of_wild)

    def forward(self, ligand: Tensor, variant: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Raw features (n, L), (n, V), one-hot (n, S) -> predictions (m, n, 4) and deviations (m, 1, 4)."""
        said = state @ self.base + self.scale * self.scaled(ligand, variant, state)
        return said, self.scale * (nn.functional.softplus(self.deviation) + LEAST_SD)


class Layers(nn.Module):
    """Two layers for each of m members: (n, d) -> (m, n, 4)."""

    def __init__(self, members: int, width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(members, width, hidden, dtype=torch.float64))
        self.first_bias = nn.Parameter(torch.zeros(members, 1, hidden, dtype=torch.float64))
        self.last = nn.Parameter(torch.zeros(members, hidden, len(HEADS), dtype=torch.float64))
        self.last_bias = nn.Parameter(torch.zeros(members, 1, len(HEADS), dtype=torch.float64))

    def start(self, generator: torch.Generator) -> None:
        """Random weights; small last layers, so that training starts at the plain guess."""
        with torch.no_grad():
            self.first.normal_(0, 1 / math.sqrt(self.first.shape[1]), generator=generator)
            self.last.normal_(0, 0.1 / math.sqrt(self.first.shape[2]), generator=generator)

    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.silu(z @ self.first + self.first_bias) @ self.last + self.last_bias
