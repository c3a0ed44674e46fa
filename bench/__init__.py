"""Measurements of SecureChat on the machine at hand: ``python -m bench``. It measures; no test fails on a time."""
