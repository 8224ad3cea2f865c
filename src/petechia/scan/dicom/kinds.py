"""What an image is, by a table: the first row that fits decides. Words are the makers' own.

Each row looks at one field of the header. Fields, in lower case:

    modality, body, sop      Modality, BodyPartExamined, the name given here to the SOP class
    type                     ImageType, FrameType, ComplexImageComponent, VolumeBasedCalculationTechnique and
                             the makers' private words for the part, in one string with " | " between them
    series, protocol         SeriesDescription, ProtocolName
    scan                     ScanningSequence, SequenceName, PulseSequenceName
    any                      series or protocol
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from petechia.scan.dicom.header import Frame


class Kind(StrEnum):
    """The content of a stack. READABLE names those that may be read."""

    SWI = "swi"
    MAGNITUDE = "magnitude"  # T2*-weighted gradient echo
    PHASE = "phase"
    COMPLEX_PART = "complex part"  # real or imaginary
    MIP = "mip"
    MAP = "map"
    DERIVED = "derived"
    LOCALISER = "localiser"
    OTHER = "other contrast"
    NOT_HEAD = "not a head"
    NOT_MR = "not MR"


READABLE = (Kind.SWI, Kind.MAGNITUDE)  # best first
NEVER = {
    Kind.PHASE: "phase-image",
    Kind.COMPLEX_PART: "complex-image",
    Kind.MIP: "minip",
    Kind.MAP: "not-susceptibility",
    Kind.DERIVED: "derived-image",
    Kind.LOCALISER: "localiser",
    Kind.OTHER: "not-susceptibility",
    Kind.NOT_HEAD: "not-a-head",
    Kind.NOT_MR: "modality",
}  # kind -> code of the refusal where nothing better is there


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: where `pattern` is found in `field`, the image is of `kind`, because of `reason`."""

    field: str
    pattern: str
    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an image is, and which words said so."""

    kind: Kind
    reason: str
    by_type: bool  # the image type said so, not a description


_MR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "mr",
    "1.2.840.10008.5.1.4.1.1.4.1": "enhanced mr",
    "1.2.840.10008.5.1.4.1.1.4.4": "legacy converted mr",
}
_SWI = r"(?<![a-z])(e?swan|swi|s?swip|swihr|swi3d|fsbb|ven_?bold|venobold)(?![a-z])"
_GRE = (
    r"(?<![a-z])(t2\s?\*|t2_?star|t2s|gre|megre|merge|medic|hemo|haemo|t2_?ffe|t2w_ffe|ffe_t2|"
    r"mag|mag_images|magnitude|fsbb|swi_mag)(?![a-z])"
)
_MIP = r"(?<![a-z])(mip|minip|mnip|min_?\s?ip|min_ip|minimum|projection image)(?![a-z])"
_PHASE = r"(?<![a-z])(pha|phase|filt_?pha|pha_images|phs)(?![a-z])"
_OTHER = (
    r"(?<![a-z])(t1\w*|st1w\w*|mp2?rage|bravo|spgr|flair|tirm|t2w?_?(tse|fse|spc|space|blade)\w*|"
    r"dwi|dti|diff\w*|tof|angio|mra|mrv|pc|asl|pcasl|perf\w*|dsc|bold|fmri|rest|stir|pd|ciss|fiesta|space|cube|vista|"
    r"mrs|svs|csi)(?![a-z])"
)

RULES: tuple[Rule, ...] = (
    Rule("modality", r"^(?!mr$)", Kind.NOT_MR, "its modality is not MR"),
    Rule("sop", r"^other$", Kind.NOT_MR, "it is no MR image object"),
    Rule("body", r"knee|spine|abdomen|pelvis|chest|hip|shoulder|ankle|wrist|breast|heart|foot|hand|liver|"
         r"prostate|extremity|phantom", Kind.NOT_HEAD, "its body part is not the head"),
    Rule("type", r"\b(phase|phase map|p|b0 map|phase_map)\b", Kind.PHASE, "its image type says phase"),
    Rule("type", r"\b(real|imaginary|r|i|mixed_complex)\b", Kind.COMPLEX_PART,
         "its image type says real or imaginary"),
    Rule("type", r"\b(mnip|minip|min_ip|min ip|mip|max_ip|max ip|mpr_mip|projection image)\b", Kind.MIP,
         "its image type says projection"),
    Rule("type", r"\b(mpr|csa mpr|reformatted|csa resampled|resampled|subtract|subtraction|screen save|"
         r"volume_render|surface_render|curved_mpr|secondary)\b", Kind.DERIVED,
         "its image type says derived"),
    Rule("type", r"\b(localizer|localiser)\b", Kind.LOCALISER, "its image type says localiser"),
    Rule("type", r"\b(adc|fa|tracew|diffusion|t1 map|t2 map|t2_star map|t2\* map|r2_map|r2_star_map|r2\*|qsm|"
         r"susceptibility_map|perfusion|asl|fmri|tof|b0|chi)\b", Kind.MAP,
         "its image type says map or another method"),
    Rule("series", r"(?<![a-z])(localizer|localiser|scout|survey|3-?plane|plane loc|locator|aahead|aascout|"
         r"loc)(?![a-z])",
         Kind.LOCALISER, "its series description says localiser"),
    Rule("series", _MIP, Kind.MIP, "its series description says projection"),
    Rule("series", _PHASE, Kind.PHASE, "its series description says phase"),
    Rule("series", r"(?<![a-z])(mpr|reformat|reformatted|derived|subtraction|fused|mosaic view)(?![a-z])",
         Kind.DERIVED, "its series description says derived"),
    Rule("any", r"(?<![a-z])(qsm|swim|chi|chimap|r2\*|r2star|t2\*?_?map|t2star_?map|adc|b0[ _]?map|"
         r"field[_ ]?map\w*)(?![a-z])",
         Kind.MAP, "its description says map"),
    Rule("type", r"\b(swi|m_swi|swi_m|swan)\b", Kind.SWI, "its image type says SWI"),
    Rule("series", r"(?<![a-z])(mag|mag_images|magnitude)(?![a-z])", Kind.MAGNITUDE,
         "its series description says magnitude"),
    Rule("series", _SWI, Kind.SWI, "its series description says SWI"),
    Rule("series", _OTHER, Kind.OTHER, "its series description says another contrast"),
    Rule("series", _GRE, Kind.MAGNITUDE, "its series description says T2* gradient echo"),
    Rule("protocol", _SWI, Kind.SWI, "its protocol name says SWI"),
    Rule("protocol", _OTHER, Kind.OTHER, "its protocol name says another contrast"),
    Rule("protocol", _GRE, Kind.MAGNITUDE, "its protocol name says T2* gradient echo"),
)  # fmt: skip
LATE_ECHO_MS = 10.0  # an unnamed gradient echo as late as this is T2*-weighted; T1 and TOF are below 8 ms
_UNNAMED = Verdict(Kind.OTHER, "nothing in its header says SWI or T2* gradient echo", False)


def judge(frame: Frame) -> Verdict:
    """The first rule that fits; else a late gradient echo is a magnitude, anything else another contrast."""
    fields = _fields(frame)
    for rule in RULES:
        for name in ("series", "protocol") if rule.field == "any" else (rule.field,):
            if re.search(rule.pattern, fields[name]):
                return Verdict(rule.kind, rule.reason, rule.field == "type")
    late = frame.echo_time_ms is not None and frame.echo_time_ms >= LATE_ECHO_MS
    if late and re.search(r"\bgr\b|\bffe\b|gre|fl[23]d", fields["scan"]):
        return Verdict(
            Kind.MAGNITUDE, f"a gradient echo with an echo time of {LATE_ECHO_MS:g} ms or more", False
        )
    return _UNNAMED


def _fields(frame: Frame) -> dict[str, str]:
    return {
        "modality": frame.modality.lower(),
        "sop": _MR_CLASSES.get(frame.sop_class, "other"),
        "body": frame.body_part.lower(),
        "type": " | ".join(frame.image_type).lower(),
        "series": frame.description,
        "protocol": frame.protocol,
        "scan": frame.sequence,
    }
