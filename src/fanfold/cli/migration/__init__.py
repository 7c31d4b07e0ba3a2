"""How code that was written for Prefect is rewritten: read, decide, edit."""
