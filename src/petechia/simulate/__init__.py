"""Physics-based simulation of susceptibility scans with known microbleeds (needs ``petechia[train]``)."""

import os

# Large pages for torch's large tensors, where the system gives them on request: a third less CPU goes into
# filling fresh memory. Read by torch when it first allocates; what the user has set stays.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
