"""Conformance suites for those who write runners, and faults to inject; needs pytest and psutil."""
