"""One image of 24 rows and 20 columns as HTJ2K (ISO/IEC 15444-15), which no library here can write.

`image()` is the formula; LOSSLESS and LOSSY are what OpenJPH (through imagecodecs 2026.3.6) made of it:
code blocks of high throughput, progression RPCL, as PS3.5 A.4.12 wants it for 1.2.840.10008.1.2.4.202.
"""

from __future__ import annotations

import base64

import numpy as np


def image() -> np.ndarray:
    """(rows, columns) uint16, 12 bits of it used."""
    j, i = np.indices((24, 20))
    return ((i * 97 + j * 61 + ((j // 4 + i // 3) % 5) * 301) % 4096).astype(np.uint16)


LOSSLESS = base64.b64decode(
    "/0//UQApQAAAAAAUAAAAGAAAAAAAAAAAAAAAFAAAABgAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAIEBEAB/1wACiCI"
    "kJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAgoAAf+TwAAvRxcBF/1N+1X33/XB95/6CL43D3/34nPqr+UX"
    "2nPt0/m+PMlduM43t7F755/mF+Op8LL1eLp33Cy+OgF/9Zd/+suoH0JAMz4AwAAXXwAAXYwAAXVA329e0HbQOpgBaR4UEySHwYew"
    "3T+d8I4WYDQA/GHQIcHrwvcU7KecWig+MAGxvABRK6MW/QgYF8ZsLNVzbUNq4fDpmPec9EC8Rnla5UNVgIop4cEMTimmSCRGD4wg"
    "Qb0AZ+3YM10MaAWNrLFePREzFEBDU6GhjFXImpcVmOYEn5pKI4lYgvHEJ90AwAAvoKAAF7PAAC6YLCwrKyxZrjyf5VsrK8DALCwr"
    "K1lCz3634GBppZWAAYaFZeX8/W+9sRJLLK2sAAOzoNvvFhwsrbQSS5Yr58DA97/1xkosLFeusERvv1vAAAMHSyutxMJy5cr9ZvnG"
    "SsAA8wDZLhlRWyXhx6NnXvT0fMO/ThOUd+nGDhhARpwhA9JxAitXVlZWzu3bP19ZuXLlyjeo+M3KlStXrjzPfvvPW2mllStXvlHx"
    "G1auXLnyPPtlab/zVlq5cuUbFb8BDzzw4MHDwwMPPPD4BLLLK7U9NOW2p0y2m3TLLabZaWnptGKRBAppCECnUALv3rnr7rt37ty9"
    "e+fO3c8gQRkA8gB5AuIQD+PID8gfqFwQgHfYAf/Z"
)
LOSSY = base64.b64decode(
    "/0//UQApQAAAAAAUAAAAGAAAAAAAAAAAAAAAFAAAABgAAAAAAAAAAAABDwEB/1AACAACAAAAJP9SAAwAAgABAAUEBEAA/1wAIyKH"
    "dIdFh0WHF39cf1x/PXeqd6p3wmA1YDVgeFgaWBpnv/9kABcAAU9wZW5KUEggVmVyIDAuMjYuMy7/kAAKAAAAAAFGAAH/k8AATM38"
    "BId0AMAATQABLAAEoAr+Agd0AIgBh3QAyQCHdADAAJoABNAAJfbgAIt0ALLkACI0APwAx3QAwAFVAAVkABUghwgcA/IAcEK1AOhq"
    "FqX+QSF58Xy3AAsswv4MrAGVAMAFtQAWxABagJ7gAuUTinGVQcxmMMmH/Ekwb/i2ALwCHTsAt9OEni+m3ilUEipLo1hcKaZIJGf5"
    "RrsAW22A1A2BMEcHjWnzHmc1WLkn2gDAC7mAF18AFqhQ4oozVAAWU3JtAFEBi8zI0wM2UBExA1uLAWHdkvDHpDcl+cfv53feX/83"
    "/fHcxujv0+skaevSfwH/QmH7H/b2DQZDzfxht28wJBhq/rBgBF/+nqFPpXaW/0yhP1subs9Nsik9x6daAUUWFPzeQBRw+B8ur+Pj"
    "+fqFynfRAf/Z"
)
