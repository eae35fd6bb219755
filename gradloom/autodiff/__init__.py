"""Transformations of programs. Nothing here names an op."""
