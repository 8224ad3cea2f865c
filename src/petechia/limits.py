"""Every cap, tolerance and timeout, once: value, unit, reason."""

# -- bytes -------------------------------------------------------------------------------------------------
MAX_FILE_BYTES = 2 * 1024**3  # a compressed scan on disk; a 7 T SWI is about 0.5 GB
MAX_EXTENSION_BYTES = 16 * 1024**2  # NIfTI extensions carry text, never images
MAX_VOXEL_BYTES = 2 * 1024**3  # as float32: 1024 x 1024 x 400 fits
MAX_EXPANSION_RATIO = 1000  # gzip of zeros reaches 1032; real scans stay under 50
READ_CHUNK_BYTES = 1 << 20

# -- geometry ----------------------------------------------------------------------------------------------
MIN_SLICES = 8  # fewer cannot tell a dot from a tube
MIN_SPACING_MM = 0.05  # finer than any human MRI
MAX_SPACING_MM = 20.0  # coarser than any brain scan
MAX_SHEAR_DEG = 0.5  # axes further from perpendicular are not one rigid grid
XFORM_SHIFT_MM = 0.1  # qform and sform closer than this are the same
XFORM_ANGLE_DEG = 0.1
SPACING_TOLERANCE = 0.01  # relative: pixdim against affine column norm
THICK_SLICE_MM = 2.5  # from here on small bleeds hide; Nandigam 2009 (AJNR 30:338) saw 33 % of them
COARSE_VOXEL_MM3 = 15.0  # above this a 2 mm bleed changes its voxel by less than a third

# -- content -----------------------------------------------------------------------------------------------
MAX_NAN_FRACTION = 0.01  # of the head; more than this is a broken file, not a hole
MIN_GREY_LEVELS = 64  # fewer in the brain: quantised
MAX_CANDIDATES = 200  # more findings than this lies outside what was tested

# -- time --------------------------------------------------------------------------------------------------
SCAN_TIMEOUT_S = 900.0  # one scan takes seconds; this is a hang
SHUTDOWN_TIMEOUT_S = 5.0

# -- work --------------------------------------------------------------------------------------------------
INFERENCE_THREADS = 2  # per reading process; more scans at once pay better than more threads on one

# -- DICOM -------------------------------------------------------------------------------------------------
MAX_DICOM_FILE_BYTES = 512 * 1024**2  # one instance; an enhanced 7 T SWI with phase is about 0.3 GB
MAX_DICOM_HEADER_BYTES = 64 * 1024**2  # before the pixels; 10,000 frames of functional groups are about 40 MB
MAX_DICOM_DEPTH = 16  # sequences within sequences; real headers stay under 8
MAX_DICOM_ELEMENTS = 2_000_000  # of one header; an enhanced object of 1,000 frames has about 100,000
MAX_DICOM_FRAMES = 10_000  # of one instance
MAX_DICOM_FILES = 100_000  # of one input; a year of one patient is a tenth of it
MAX_ZIP_BYTES = 16 * 1024**3  # unpacked, all members together
MAX_FOLDER_DEPTH = 16  # folders within folders
SLICE_TOLERANCE = 0.01  # relative: distance between neighbouring slices against their median
SLICE_LEAN_DEG = 0.5  # a stack further from perpendicular is no rigid grid; as MAX_SHEAR_DEG
SLICE_DRIFT_MM = 0.1  # sideways, against the straight line through the stack
