"""Words that makers and departments use, each with what the image is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicom_series import SeriesLook, write_series
from petechia.scan.dicom.header import Frame, read_frames
from petechia.scan.dicom.kinds import Kind, judge


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Frame:
    """An MR image whose header says nothing of its content."""
    folder = tmp_path_factory.mktemp("kinds")
    (path, *_) = write_series(folder, np.ones((8, 8, 2)), np.eye(4), SeriesLook("ge", "t1", description=""))
    (frame,) = read_frames(path)
    return replace(frame, sequence="", echo_time_ms=20.0)


SAID = {
    Kind.SWI: (
        "SWI_Images",
        "t2_swi3d_tra_p2",
        "Ax SWAN",
        "Ax 3D SWAN",
        "eSWAN",
        "SWIp",
        "sSWIp",
        "VEN_BOLD",
        "FSBB 3D",
        "SWI 3D",
    ),
    Kind.MAGNITUDE: (
        "Mag_Images",
        "t2_fl2d_tra_hemo",
        "Ax T2* GRE",
        "AX T2STAR",
        "T2W_FFE",
        "gre_hemo",
        "3D MEGRE",
        "MERGE C-spine no",
        "ORIG Magnitude",
        "MEDIC tra",
    ),
    Kind.PHASE: ("Pha_Images", "FILT_PHA: Ax SWAN", "SWI Phase", "swi_pha"),
    Kind.MIP: ("mIP_Images(SW)", "minIP SWI", "SWI mIP 8mm", "MIN IP Ax SWAN", "SWAN MinIP", "mIP SWIp"),
    Kind.LOCALISER: ("AAHead_Scout", "localizer", "3-Plane Loc", "Survey", "Locator"),
    Kind.MAP: ("QSM", "SWIM", "R2* map", "gre_field_mapping", "B0 map", "fcMRI Field Mapping", "ADC"),
    Kind.OTHER: (
        "t1_mprage_sag",
        "t1_fl3d_tra_dynaVIEWS",
        "t1_fl2d_sag",
        "Sag T1 BRAVO",
        "Ax T1 GRE",
        "t2_tse_tra",
        "T2 FLAIR",
        "ep2d_diff_3scan",
        "TOF_3D_multi-slab",
        "AX DWI",
        "T2_SPACE",
        "rs_bold",
        "PD_TSE",
    ),
    Kind.DERIVED: ("SWI MPR cor", "T2 reformat"),
}


@pytest.mark.parametrize(("kind", "said"), [(kind, said) for kind, words in SAID.items() for said in words])
def test_what_a_description_means(blank: Frame, kind: Kind, said: str) -> None:
    assert (
        judge(replace(blank, description=said.lower(), image_type=("ORIGINAL", "PRIMARY", "OTHER"))).kind
        is kind
    )


TYPES = {
    Kind.SWI: ("ORIGINAL\\PRIMARY\\M\\SWI\\NORM", "DERIVED\\PRIMARY\\OTHER\\SWI"),
    Kind.PHASE: (
        "ORIGINAL\\PRIMARY\\P\\ND",
        "ORIGINAL\\PRIMARY\\PHASE MAP\\P\\FFE",
        "ORIGINAL\\PRIMARY\\P\\SWI",
    ),
    Kind.MIP: (
        "DERIVED\\PRIMARY\\MNIP\\SWI",
        "DERIVED\\SECONDARY\\REFORMATTED\\MIN IP",
        "DERIVED\\SECONDARY\\PROJECTION IMAGE\\SWI",
    ),
    Kind.DERIVED: ("DERIVED\\SECONDARY\\MPR\\CSA MPR\\SWI", "DERIVED\\SECONDARY\\AXIAL"),
    Kind.COMPLEX_PART: ("ORIGINAL\\PRIMARY\\R_FFE\\R\\FFE\\REAL", "ORIGINAL\\PRIMARY\\I\\IMAGINARY"),
    Kind.LOCALISER: ("ORIGINAL\\PRIMARY\\LOCALIZER",),
}


@pytest.mark.parametrize(("kind", "said"), [(kind, said) for kind, words in TYPES.items() for said in words])
def test_what_an_image_type_means_whatever_the_description_says(blank: Frame, kind: Kind, said: str) -> None:
    assert judge(replace(blank, image_type=tuple(said.split("\\")))).kind is kind
    if kind is not Kind.SWI:
        assert (
            judge(replace(blank, image_type=tuple(said.split("\\")), description="swi_images")).kind is kind
        )


def test_the_protocol_name_speaks_where_the_description_does_not(blank: Frame) -> None:
    assert judge(replace(blank, description="series 5", protocol="t2_swi3d_tra")).kind is Kind.SWI
    assert judge(replace(blank, description="mag_images", protocol="t2_swi3d_tra")).kind is Kind.MAGNITUDE
    assert judge(replace(blank, description="ax t2* gre", protocol="tof brain")).kind is Kind.MAGNITUDE


@pytest.mark.parametrize(("echo", "kind"), [(4.0, Kind.OTHER), (20.0, Kind.MAGNITUDE), (None, Kind.OTHER)])
def test_an_unnamed_gradient_echo_counts_when_late(blank: Frame, echo: float | None, kind: Kind) -> None:
    assert judge(replace(blank, sequence="gr", echo_time_ms=echo)).kind is kind
