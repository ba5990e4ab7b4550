"""Ligands: the catalogue, a user's own molecules, protonation states, charges, parameters and poses."""
