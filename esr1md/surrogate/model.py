"""The network: a small ensemble of MLPs whose scaling lives inside it, so that using it cannot forget it."""

from __future__ import annotations

import math

import torch
from torch import nn

#: What the two heads predict, in this order.
HEADS = ("binding", "helix12")


class SurrogateModel(nn.Module):
    """Cell features -> binding (kcal/mol) and helix 12 (angstrom), one answer from each member.

    The prediction is ``base[state] + scale * mlp(z)``: the mean of the training cells of the state plus what the
    network makes of the standardised features ``z``. Features that did not vary in training have weight zero;
    ligand features (hundreds, of a few ligands) are first projected on their principal components.

    Shapes: n cells, L ligand features, V variant features, S states, k components, m members, h hidden units.

    Buffers
    -------
    ligand_mean, ligand_weight : (L,)
    components : (L, k)
    variant_mean, variant_weight : (V,)
    base : (S, 2)
    scale : (2,)
    """

    def __init__(self, n_ligand: int, n_variant: int, n_states: int, n_components: int, members: int, hidden: int):
        super().__init__()
        self.sizes = {
            "n_ligand": n_ligand,
            "n_variant": n_variant,
            "n_states": n_states,
            "n_components": n_components,
            "members": members,
            "hidden": hidden,
        }
        for name, shape in (
            ("ligand_mean", (n_ligand,)),
            ("ligand_weight", (n_ligand,)),
            ("components", (n_ligand, n_components)),
            ("variant_mean", (n_variant,)),
            ("variant_weight", (n_variant,)),
            ("base", (n_states, len(HEADS))),
            ("scale", (len(HEADS),)),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        width = n_components + 1 + n_variant + n_states
        self.first = nn.Parameter(torch.zeros(members, width, hidden, dtype=torch.float64))
        self.first_bias = nn.Parameter(torch.zeros(members, 1, hidden, dtype=torch.float64))
        self.last = nn.Parameter(torch.zeros(members, hidden, len(HEADS), dtype=torch.float64))
        self.last_bias = nn.Parameter(torch.zeros(members, 1, len(HEADS), dtype=torch.float64))

    def start(self, generator: torch.Generator) -> None:
        """Random weights, every member its own; small last layers, so that training starts at the state's mean."""
        with torch.no_grad():
            width, hidden = self.first.shape[1], self.first.shape[2]
            self.first.normal_(0, 1 / math.sqrt(width), generator=generator)
            self.last.normal_(0, 0.1 / math.sqrt(hidden), generator=generator)

    def standardise(self, ligand: torch.Tensor, variant: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Raw features (n, L), (n, V), (n, S) -> what the network reads (n, k + 1 + V + S); NaN ligand is apo."""
        apo = torch.isnan(ligand).any(dim=1, keepdim=True)
        centred = torch.where(torch.isnan(ligand), torch.zeros_like(ligand), ligand - self.ligand_mean)
        reduced = (centred * self.ligand_weight) @ self.components
        changed = (variant - self.variant_mean) * self.variant_weight
        return torch.cat([reduced, apo.to(reduced.dtype), changed, state], dim=1)

    def deviation(self, z: torch.Tensor) -> torch.Tensor:
        """Standardised features (n, d) -> scaled deviations from the state's mean (m, n, 2)."""
        hidden = nn.functional.silu(z @ self.first + self.first_bias)
        return hidden @ self.last + self.last_bias

    def forward(self, ligand: torch.Tensor, variant: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Raw features (n, L), (n, V), one-hot (n, S) -> predictions in kcal/mol and angstrom (m, n, 2)."""
        return state @ self.base + self.scale * self.deviation(self.standardise(ligand, variant, state))
