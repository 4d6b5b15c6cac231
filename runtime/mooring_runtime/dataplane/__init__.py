"""The one path of a request behind every protocol: `infer` runs it, front ends only translate bytes."""

from mooring_runtime.dataplane.check import check
from mooring_runtime.dataplane.infer import DataPlane
from mooring_runtime.dataplane.outcomes import Decode, Reply

__all__ = ["DataPlane", "Decode", "Reply", "check"]
