"""petechia: find, measure and report cerebral microbleeds in brain MRI.

Research software. Not a medical device. Not for diagnosis or treatment decisions.
"""

__version__ = "0.1.0"
