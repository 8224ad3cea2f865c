"""Every cap on what a peer may do to us: value, unit, reason."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1024**2
GIGABYTE = 1024**3


@dataclass(frozen=True, slots=True)
class Guards:
    """Bytes, counts and seconds. A peer over one of them is cut off, and its partial data removed."""

    associate_bytes: int = 128 * 1024  # A-ASSOCIATE-RQ: 128 contexts x 40 syntaxes stay under 100 KB
    associate_s: float = 10.0  # from TCP connection to the last byte of A-ASSOCIATE-RQ; LANs need 0.01
    waiting: int = 200  # connections without A-ASSOCIATE-RQ; one more, and the oldest goes
    associations: int = 16  # at once; a scanner opens one to four
    pdu_bytes: int = 128 * 1024  # what we announce, and what we hold peers to; dcmtk's own largest
    pdu_s: float = 30.0  # from first to last byte of a PDU
    idle_s: float = 30.0  # without a byte between two PDUs
    command_bytes: int = 16 * 1024  # a command set is some 300 bytes
    message_bytes: int = MEGABYTE  # a data set that is no instance: storage commitment of 5,000 instances
    unanswered: int = 2  # messages sent without waiting for an answer; we negotiate one at a time
    instance_bytes: int = 512 * MEGABYTE  # an enhanced 7 T SWI with phase is about 300 MB
    instance_s: float = 600.0  # from first to last byte of an instance
    header_bytes: int = 4 * MEGABYTE  # the four UIDs must come within these
    association_bytes: int = 32 * GIGABYTE
    association_s: float = 4 * 3600.0
    study_bytes: int = 8 * GIGABYTE
    study_instances: int = 20_000
    spare_disk_bytes: int = GIGABYTE  # kept free: below it we answer "out of resources" and can still send
    result_bytes: int = 512 * MEGABYTE  # one result object
    reading_s: float = 1800.0  # wall time of one reading; it takes seconds
    reading_cpu_s: int = 3600
    reading_bytes: int = 12 * GIGABYTE  # address space of one reading


DEFAULT_GUARDS = Guards()
