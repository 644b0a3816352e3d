"""Paths that rich would read as markup or emoji."""

ODD_PATHS = ["runs/[v2]/x", "x[/old]", "a:cat:b"]
