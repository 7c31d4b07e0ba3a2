"""Records what happens in the history: off the hot path, and never at the cost of a run."""
