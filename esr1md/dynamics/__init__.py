"""Simulation: protocols as data, platforms, the pocket-centred region and the engine that runs a replica."""
