"""Series -> Volume in RAS+ millimetres, by one written rule set, and the checks of its content."""
