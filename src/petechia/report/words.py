"""What classes, regions and sides are called for a human reader, once."""

from __future__ import annotations

from petechia.types import Bombs, Lesion, LesionClass, Mars, Region, Side

MIMICS = (
    LesionClass.CALCIFICATION, LesionClass.IRON, LesionClass.VESSEL, LesionClass.INTERFACE,
    LesionClass.HAEMORRHAGE,
)  # fmt: skip

CLASS_WORDS: dict[LesionClass, str] = {
    LesionClass.CMB: "microbleed",
    LesionClass.POSSIBLE: "possible microbleed",
    LesionClass.CALCIFICATION: "calcification",
    LesionClass.IRON: "iron deposit",
    LesionClass.VESSEL: "vessel",
    LesionClass.INTERFACE: "air or bone interface",
    LesionClass.HAEMORRHAGE: "other old blood",
}

CLASS_MEANING: dict[LesionClass, str] = {
    LesionClass.CMB: "Microbleed above the operating point. Only these rows are counted.",
    LesionClass.POSSIBLE: "Looks like a microbleed but falls below the operating point. Not counted.",
    LesionClass.CALCIFICATION: "Mimic: calcium, as in pallidum, choroid plexus, pineal gland or falx.",
    LesionClass.IRON: "Mimic: iron of the deep nuclei.",
    LesionClass.VESSEL: "Mimic: a vein cut across, or an arterial flow void.",
    LesionClass.INTERFACE: "Mimic: signal loss beside air or bone.",
    LesionClass.HAEMORRHAGE: "Old blood that is no microbleed: siderosis, a large old bleed, a cavernoma.",
}

REGION_MEANING: dict[Region, str] = {
    Region.LOBAR: "Cortex and the white matter beneath it.",
    Region.DEEP: "Deep nuclei, internal and external capsule, thalamus, deep white matter.",
    Region.INFRATENTORIAL: "Brainstem and cerebellum.",
    Region.UNKNOWN: "Could not be placed.",
}

MARS_MEANING: dict[Mars, str] = {
    Mars.FRONTAL: "Cortex and subcortical white matter of the frontal lobe.",
    Mars.PARIETAL: "Cortex and subcortical white matter of the parietal lobe.",
    Mars.TEMPORAL: "Cortex and subcortical white matter of the temporal lobe, hippocampus and amygdala.",
    Mars.OCCIPITAL: "Cortex and subcortical white matter of the occipital lobe.",
    Mars.INSULA: "Insula and extreme capsule.",
    Mars.BASAL_GANGLIA: "Caudate, putamen, pallidum, accumbens.",
    Mars.THALAMUS: "Thalamus, sub- and hypothalamus.",
    Mars.INTERNAL_CAPSULE: "Internal capsule.",
    Mars.EXTERNAL_CAPSULE: "External capsule and claustrum.",
    Mars.CORPUS_CALLOSUM: "Corpus callosum near the midline.",
    Mars.DEEP_WHITE: "Deep and periventricular white matter.",
    Mars.BRAINSTEM: "Midbrain, pons, medulla.",
    Mars.CEREBELLUM: "Cerebellum.",
    Mars.UNKNOWN: "Could not be placed, or the model knows coarse regions alone.",
}

BOMBS_MEANING: dict[Bombs, str] = {
    Bombs.CORTEX: "Cortex or the junction of grey and white matter.",
    Bombs.SUBCORTICAL_WHITE: "White matter of the hemispheres but the capsules, deep white matter included.",
    Bombs.BASAL_GANGLIA: "Grey matter of the basal ganglia.",
    Bombs.CAPSULE: "Internal or external capsule.",
    Bombs.THALAMUS: "Thalamus.",
    Bombs.BRAINSTEM: "Brainstem.",
    Bombs.CEREBELLUM: "Cerebellum.",
    Bombs.UNKNOWN: "Could not be placed, or the model knows coarse regions alone.",
}

SIDE_MEANING: dict[Side, str] = {
    Side.LEFT: "The patient's left.",
    Side.RIGHT: "The patient's right.",
    Side.MIDLINE: "Too close to the midline to say.",
    Side.UNKNOWN: "Withheld: the file does not state its orientation, or the place could not be found.",
}


def place_words(lesion: Lesion) -> str:
    """ "deep: internal capsule", or the region alone where no finer place is known."""
    if lesion.mars is Mars.UNKNOWN:
        return lesion.region.value
    return f"{lesion.region.value}: {lesion.mars.value.replace('_', ' ')}"


def style_of(kind: LesionClass) -> str:
    """The drawing style of a class: "cmb", "possible" or "mimic"."""
    if kind is LesionClass.CMB:
        return "cmb"
    return "possible" if kind is LesionClass.POSSIBLE else "mimic"


def plural(count: int, word: str) -> str:
    """ "1 vessel", "2 vessels"."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
