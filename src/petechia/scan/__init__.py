"""Bytes on disk -> one chosen series: what to read, whether it is whole, what its header says."""
