"""The one path of a request behind every protocol: `infer` runs it, front ends only translate bytes."""

from mooring_runtime.dataplane.infer import DataPlane, Decode, Reply, check

__all__ = ["DataPlane", "Decode", "Reply", "check"]
