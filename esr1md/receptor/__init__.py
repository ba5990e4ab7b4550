"""Receptor models: sequence and notation, reading structures, building variants, quality."""
