"""DICOM in: files -> headers -> stacks -> the one to read -> Series.

pydicom and its plug-ins decode; the rules and the guards are ours.

files     which files an input holds (folder, zip, DICOMDIR), within limits
guard     the structure of one file's bytes, walked before any library sees them
values    single header values, none trusted
header    one file -> one Frame for each image in it
kinds     what an image is, by a table of words
stack     frames -> stacks of one geometry and one content
select    which stack of a study is read, and why the others are not
order     a stack's frames in space; missing, duplicate, uneven and mixed-up slices refused by name
pixels    stored numbers of one frame, all transfer syntaxes
mosaic    Siemens mosaics
find      all of the above up to the choice: input -> ScanFiles
read      ScanFile -> Series
"""
