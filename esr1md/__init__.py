"""Screen ER-alpha ligands against ESR1 mutants: binding and helix 12, from simulation to ranking.

Importing the package is instant; import the room you need (``from esr1md.receptor import ...``).
See ``docs/architecture.md`` for the rooms and their calls.
"""

__version__ = "0.1.0"
