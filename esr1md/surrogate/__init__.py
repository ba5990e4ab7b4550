"""A torch model trained on a screen's own replicas, which guesses the cells that were not simulated."""
