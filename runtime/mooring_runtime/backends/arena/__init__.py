"""States of sessions on the device of their model, between the step that leaves them and the next one.

A cache, and nothing else. What counts is the array in the memory of the host, which is made once by a step, never
written to again, and goes to disk. The device keeps an image of it, so that the next step need not send it there. No
image, or one of another array: the state is sent, as it is without any of this.

    index   which array has its image in which slot; knows nothing of devices
    arena   states in, next states out: what is there, what has to be sent, where the next ones go
    making  how large one is, and whether it can be had

The slots are a ring: each run leaves its next states as one block at the head, over what has been there for longest.
What a framework has to do for it is `arena.Memory`; `onnx.resident` and `torch.resident` do it.
"""

from mooring_runtime.backends.arena.arena import Arena, Memory, Sizes
from mooring_runtime.backends.arena.making import make

__all__ = ["Arena", "Memory", "Sizes", "make"]
