"""The only code that writes: atomic, locked, resumable. A reading exists only if its manifest exists."""
