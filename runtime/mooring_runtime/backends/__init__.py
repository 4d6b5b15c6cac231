"""What runs models. `base` is the seam that everything else knows; each other module is one framework, loaded by name.

This package imports no framework: a server of ONNX models must start without torch, and the other way round.
"""

import os

# Read once, at the import of onnxruntime, which else reports to its maker: a model server talks to its clients only.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
