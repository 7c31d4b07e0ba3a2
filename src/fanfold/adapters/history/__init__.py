"""Histories: in memory, in SQLite, in PostgreSQL; `rules` holds what they have in common."""
