"""What turns calls into chunks, and reports into states and values."""
