"""The dashboard: a web application over a store, for a team that reviews rankings. Started by ``esr1md dashboard``."""
