"""Real things behind the ports; reached by name through the engine's registry."""
