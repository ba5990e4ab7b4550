"""One file for each page: its layout from what its address says, and its callbacks."""
