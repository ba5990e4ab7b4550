"""Where a screen runs: this machine's processes, or those of a Dask, Slurm or Ray cluster, behind one interface."""

from esr1md.sites.pools import Pool, open_site_pool

__all__ = ["Pool", "open_site_pool"]
