"""The parts of make.py, one file per kind of test data."""
