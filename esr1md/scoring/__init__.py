"""Scores with intervals, verdicts and the ranking: what a screen may say, and what it cannot tell."""
