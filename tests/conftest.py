"""Before torch is loaded: threads that wait should sleep, tests often share a machine."""
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
