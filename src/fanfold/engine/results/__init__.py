"""Results that are kept: how they are written, found again, committed and taken back."""
