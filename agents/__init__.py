"""The users who answer."""

import os

# Idle OpenMP threads spin by default; on cores that something else uses too, a step of a small model then takes 25
# times as long. Read by the runtime when torch is first loaded; what the environment already says stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
