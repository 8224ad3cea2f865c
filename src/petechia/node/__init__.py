"""The DICOM node: studies in from the department's network, results back to its archive.

    lobby -> guarded association -> receive -> spool -> study is complete and quiet -> work -> spool -> send

`spool` is the state; everything else can be killed at any instant. Nothing here imports a station: a reading
is a function given from outside, and runs in a process of its own.
"""
