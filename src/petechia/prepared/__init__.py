"""Volume -> a network's grid, and the way back: every array carries its affine to RAS+ millimetres."""
