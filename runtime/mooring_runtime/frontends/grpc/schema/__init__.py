"""The protobuf messages, made at import from descriptors that protoc wrote: NAME.proto -> NAME.binpb.

Not protoc's own Python: that registers its messages in the one pool of the process, where a model's code that imports a
client of the same protocol would clash with ours, and it ties the server to the protobuf release that wrote it.
The test of this package compares them, and writes them anew with `--update-golden`.
"""

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_HERE = Path(__file__).parent


def load(name: str) -> dict[str, Any]:
    """The classes of NAME.binpb's messages by name."""
    pool = DescriptorPool()
    file = pool.AddSerializedFile((_HERE / f"{name}.binpb").read_bytes())
    return {message: GetMessageClass(found) for message, found in file.message_types_by_name.items()}
