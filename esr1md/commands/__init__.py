"""The commands, one file for each group, and what they show on a terminal."""
