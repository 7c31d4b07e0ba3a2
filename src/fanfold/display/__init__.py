"""How runs are shown to people: on a terminal."""
