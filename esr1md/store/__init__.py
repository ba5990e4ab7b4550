"""Where results live: content-addressed folders (:mod:`.artifacts`) and their SQL index (:mod:`.records`)."""

from esr1md.store.artifacts import KINDS, Store

__all__ = ["KINDS", "Store"]
