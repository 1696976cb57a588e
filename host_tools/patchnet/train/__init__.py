"""Training, quantization: all that needs PyTorch."""

import os

# Threads that wait for each other give way to other work meanwhile: the library reads this once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
