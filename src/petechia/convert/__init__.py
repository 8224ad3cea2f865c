"""Labelled scans of other formats -> the BIDS layout with truth that `petechia evaluate` reads.

source -> which image, which points or mask (valdo, points, mat) -> truth table and labels -> dataset.
Importing this package reads nothing.
"""
