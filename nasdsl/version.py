"""The version of nasdsl, and of the files that it writes."""

VERSION = "0.1.0"
FORMAT = 1
"""The version of the JSON that `nasdsl compile` prints and writes."""
