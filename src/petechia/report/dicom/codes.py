"""Every coded concept that leaves the house, once, with the place where its code was found.

A code that could not be confirmed is not guessed: what no public dictionary names gets a code of our own
scheme, `99PETECHIA`, whose meaning is plain words. Scheme designators: PS3.16 section 8.
"""

from __future__ import annotations

from dataclasses import dataclass

from petechia.types import LesionClass, Mars, Region, Side

PRIVATE_SCHEME = "99PETECHIA"  # PS3.16 section 8.2: private designators begin with 99

# Where a code was found.
PS3_16 = "DICOM PS3.16"  # context groups and Annex D; a test asks pydicom's copy of it
SNOMED = "SNOMED CT"  # not in PS3.16; seen in public code and value sets with this meaning
OWN = "this project"


@dataclass(frozen=True, slots=True)
class Concept:
    """One coded concept (PS3.3 section 8)."""

    value: str
    scheme: str
    meaning: str
    source: str


def _dicom(value: str, scheme: str, meaning: str) -> Concept:
    return Concept(value, scheme, meaning, PS3_16)


def _own(value: str, meaning: str) -> Concept:
    return Concept(value, PRIVATE_SCHEME, meaning, OWN)


# -- what is found -------------------------------------------------------------------------------------------
MICROBLEED = Concept("723857007", "SCT", "Silent micro-hemorrhage of brain", SNOMED)
SIDEROSIS = _own(
    "SIDEROSIS", "Superficial siderosis"
)  # no SNOMED code could be confirmed: ours, in plain words

# A mimic is not a disease: calcium of the pineal gland is no "pathologic calcification" (SCT 18115005), iron
# of the pallidum no finding at all. Where the dictionary would say more than we know, the code is our own.
FINDINGS: dict[LesionClass, Concept] = {
    LesionClass.CMB: MICROBLEED,
    LesionClass.POSSIBLE: _own("POSSIBLE-CMB", "Possible microbleed, below the operating point"),
    LesionClass.CALCIFICATION: _own("MIMIC-CALCIUM", "Calcification, mimic of a microbleed"),
    LesionClass.IRON: _own("MIMIC-IRON", "Iron deposit, mimic of a microbleed"),
    LesionClass.VESSEL: _dicom("59820001", "SCT", "Blood Vessel"),
    LesionClass.INTERFACE: _dicom("111207", "DCM", "Image artifact(s)"),
    LesionClass.HAEMORRHAGE: _dicom("50960005", "SCT", "Hemorrhage"),
}

# CID 7150 Segmentation Property Category
_ABNORMAL = _dicom("49755003", "SCT", "Morphologically Abnormal Structure")
_ANATOMY = _dicom("123037004", "SCT", "Anatomical Structure")
_RELATION = _dicom("309825002", "SCT", "Spatial and Relational Concept")
CATEGORIES: dict[LesionClass, Concept] = {
    LesionClass.CMB: _ABNORMAL,
    LesionClass.POSSIBLE: _ABNORMAL,
    LesionClass.CALCIFICATION: _ABNORMAL,
    LesionClass.IRON: _ABNORMAL,
    LesionClass.VESSEL: _ANATOMY,
    LesionClass.INTERFACE: _RELATION,
    LesionClass.HAEMORRHAGE: _ABNORMAL,
}

# -- where ---------------------------------------------------------------------------------------------------
BRAIN = _dicom("12738006", "SCT", "Brain")
SITES: dict[str, Concept] = {
    "brain": BRAIN,
    "cerebral hemisphere": _dicom("372073000", "SCT", "Cerebral hemisphere"),
    "frontal lobe": _dicom("83251001", "SCT", "Frontal lobe"),
    "parietal lobe": _dicom("16630005", "SCT", "Parietal lobe"),
    "temporal lobe": _dicom("78277001", "SCT", "Temporal lobe"),
    "occipital lobe": _dicom("31065004", "SCT", "Occipital lobe"),
    "insula": _dicom("36169008", "SCT", "Insula"),
    "thalamus": _dicom("42695009", "SCT", "Thalamus"),
    "caudate nucleus": _dicom("11000004", "SCT", "Caudate nucleus"),
    "putamen": _dicom("89278009", "SCT", "Putamen"),
    "globus pallidus": _dicom("14738005", "SCT", "Globus Pallidus"),
    "internal capsule": _dicom("85637007", "SCT", "Internal capsule"),
    "external capsule": _dicom("10517005", "SCT", "External capsule"),
    "corpus callosum": _dicom("88442005", "SCT", "Corpus callosum"),
    "cerebral white matter": _dicom("68523003", "SCT", "Cerebral White Matter"),
    "infratentorial": Concept("21031007", "SCT", "Infratentorial brain structure", SNOMED),
    "brainstem": _dicom("119238007", "SCT", "Brain Stem"),
    "midbrain": _dicom("61962009", "SCT", "Midbrain"),
    "cerebellum": _dicom("113305005", "SCT", "Cerebellum"),
}

# The nearest site that holds the whole region; the region itself, which no dictionary has, stands beside it.
REGION_SITES: dict[Region, Concept] = {
    Region.LOBAR: SITES["cerebral hemisphere"],
    Region.DEEP: BRAIN,
    Region.INFRATENTORIAL: SITES["infratentorial"],
    Region.UNKNOWN: BRAIN,
}
# Finer, where the dictionary has the place; basal ganglia it has not, deep white matter only as cerebral.
MARS_SITES: dict[Mars, Concept] = {
    Mars.FRONTAL: SITES["frontal lobe"],
    Mars.PARIETAL: SITES["parietal lobe"],
    Mars.TEMPORAL: SITES["temporal lobe"],
    Mars.OCCIPITAL: SITES["occipital lobe"],
    Mars.INSULA: SITES["insula"],
    Mars.THALAMUS: SITES["thalamus"],
    Mars.INTERNAL_CAPSULE: SITES["internal capsule"],
    Mars.EXTERNAL_CAPSULE: SITES["external capsule"],
    Mars.CORPUS_CALLOSUM: SITES["corpus callosum"],
    Mars.DEEP_WHITE: SITES["cerebral white matter"],
    Mars.BRAINSTEM: SITES["brainstem"],
    Mars.CEREBELLUM: SITES["cerebellum"],
}
REGION_NAME = _own("REGION", "Region (MARS)")
REGIONS: dict[Region, Concept] = {
    Region.LOBAR: _own("LOBAR", "Lobar: cortex and the white matter beneath it"),
    Region.DEEP: _own("DEEP", "Deep: nuclei, capsules, thalamus, deep white matter"),
    Region.INFRATENTORIAL: _own("INFRATENTORIAL", "Infratentorial: brainstem and cerebellum"),
    Region.UNKNOWN: _own("REGION-UNKNOWN", "Region could not be determined"),
}

# CID 244 Laterality, and CID 5 for what lies in the middle; an unknown side has no code and is left out.
LATERALITY: dict[Side, Concept] = {
    Side.LEFT: _dicom("7771000", "SCT", "Left"),
    Side.RIGHT: _dicom("24028007", "SCT", "Right"),
}
MIDLINE = _dicom("261129000", "SCT", "Midline")

# -- how much ------------------------------------------------------------------------------------------------
NUMBER_OF_LESIONS = _dicom("246206008", "SCT", "Number of lesions")
COUNT_LOW = _own("COUNT-LOW-90", "Number of microbleeds, lower limit of the 90 % interval")
COUNT_HIGH = _own("COUNT-HIGH-90", "Number of microbleeds, upper limit of the 90 % interval")
REGION_COUNTS: dict[Region, Concept] = {
    Region.LOBAR: _own("COUNT-LOBAR", "Number of microbleeds, lobar"),
    Region.DEEP: _own("COUNT-DEEP", "Number of microbleeds, deep"),
    Region.INFRATENTORIAL: _own("COUNT-INFRATENT", "Number of microbleeds, infratentorial"),
    Region.UNKNOWN: _own("COUNT-UNPLACED", "Number of microbleeds, region not known"),
}
NUMBER_POSSIBLE = _own("COUNT-POSSIBLE", "Number of possible microbleeds, not counted")
NUMBER_MIMICS = _own("COUNT-MIMICS", "Number of mimics, not counted")
VOLUME = _dicom("118565006", "SCT", "Volume")
DIAMETER = _dicom("81827009", "SCT", "Diameter")
PROBABILITY = _dicom("122157", "DCM", "Probability")
CONTRAST = _own("CNR", "Contrast-to-noise ratio")
CENTRE = _dicom("111010", "DCM", "Center")

COUNTS = _dicom("{counts}", "UCUM", "Counts")
MM = _dicom("mm", "UCUM", "mm")
MM3 = _dicom("mm3", "UCUM", "cubic millimeter")
NO_UNITS = _dicom("1", "UCUM", "no units")

# -- about the reading ---------------------------------------------------------------------------------------
REPORT_TITLE = _dicom("126000", "DCM", "Imaging Measurement Report")
BRAIN_MRI = _dicom("24590-2", "LN", "Brain MRI")  # CID 646
ENGLISH = _dicom("en", "RFC5646", "English")  # CID 5000
DEVICE = _dicom("121007", "DCM", "Device")  # CID 270
AI = _dicom("123110", "DCM", "Artificial Intelligence")  # CID 7162
COMMENT = _dicom("121106", "DCM", "Comment")
STATUS = _dicom("111064", "DCM", "Summary of Detections")  # TID 4015, with CID 6042 as its answers
SUCCEEDED = _dicom("111222", "DCM", "Succeeded")
NOT_ATTEMPTED = _dicom("111225", "DCM", "Not Attempted")
OPERATING_POINT = _own("OPERATING-POINT", "Operating point")
OPERATING_POINTS: dict[str, Concept] = {
    "balanced": _own("BALANCED", "Balanced: few false findings"),
    "screening": _own("SCREENING", "Screening: few missed findings"),
}
ANALYSIS = _own("ANALYSIS", "Search for cerebral microbleeds")
