"""Time limits of flows and tasks, each by the strongest means that its thread allows."""
