"""Prefect flows: they plan, call and show what ``esr1md`` computes, and hold no science."""
