"""Another machine: trackers that a run's record is brought to."""
