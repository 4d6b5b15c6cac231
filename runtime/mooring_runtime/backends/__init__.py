"""What runs models. `base` is the seam that everything else knows; each other module is one framework, loaded by name.

This package imports no framework: a server of ONNX models must start without torch, and the other way round.
"""
