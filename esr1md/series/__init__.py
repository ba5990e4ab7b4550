"""Congeneric series with measured affinities: scored, and compared with what was measured."""
