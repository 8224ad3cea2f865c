"""Physics-based simulation of susceptibility scans with known microbleeds (needs ``petechia[train]``)."""
