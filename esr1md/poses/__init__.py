"""Poses: where a ligand starts in the pocket."""
