"""ScoreMap -> list[Lesion]: found, measured on the scan's own grid, placed in a region."""
