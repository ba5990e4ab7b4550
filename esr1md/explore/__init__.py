"""What to simulate next and why, round after round, within a budget of GPU-hours (active learning)."""
