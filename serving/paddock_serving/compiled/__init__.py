"""Compiled engines on the weights volume: built once, verified by loading, refused where they cannot be loaded."""
