"""How a run is trained: the schedules and sizes that the configs name."""
