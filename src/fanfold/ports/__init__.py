"""Every interface to the outside, each with its contract."""
