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
