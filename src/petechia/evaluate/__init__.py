"""Score anyone's detections against known microbleeds, with the matching rules the field uses.

tables on disk -> read -> match -> tally -> figures with bootstrap intervals -> console, JSON, TSV, HTML.
Importing this package reads and computes nothing.
"""
