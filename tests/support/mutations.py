"""Valid input made wrong at random places: bytes and JSON documents."""

import json
from random import Random
from typing import Any

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 1.5, 1e308, -0.0),
    *("", "a", "b64", "\ud7ff", "FP32", "BYTES", "BF16", "NaN", "1", "x" * 2000),
    *([], [[]], [[], []], [1, 2], [[1, 2]], [[1], [2, 3]], ["a"], [0], [0, 2], [2**40, 2**40], [True], [None], [{}]),
    *({}, {"b64": "YQ=="}, {"b64": "?"}, {"b64": 1}, {"classification": 2}, {"binary_data_size": 4}),
    *({"binary_data": True}, {"shared_memory_region": "x"}, {"in_FP32": [1, 2]}, [[[[[[1]]]]]]),
)
"""What a reader may not expect."""
_KEYS = (
    "id",
    "parameters",
    "inputs",
    "outputs",
    "instances",
    "examples",
    "data",
    "shape",
    "name",
    "datatype",
    "timeout",
)
_TOKENS = (
    b"\r\n",
    b"\r\n\r\n",
    b": ",
    b",",
    b"chunked",
    b"100-continue",
    b"gzip",
    b"0\r\n\r\n",
    b"HTTP/1.1",
    b"\0",
    b"%ff",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n",
)


def document(random: Random, original: Any) -> Any:
    """A copy of a JSON document with one to three faults."""
    root = {"": json.loads(json.dumps(original))}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places: list[tuple[Any, Any]] = []
        _collect(root, places)
        node, key = random.choice(places)
        odd = json.loads(json.dumps(random.choice(ODD)))  # A copy: else faults could make a circle.
        chance = random.random()
        if chance < 0.6 or node is root:
            node[key] = odd
        elif chance < 0.8:
            del node[key]
        elif isinstance(node, list):
            node.insert(key, odd)
        else:
            node[random.choice(_KEYS)] = odd
    return root[""]


def _collect(node: Any, places: list[tuple[Any, Any]]) -> None:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        places.append((node, key))
        if isinstance(value, (dict, list)):
            _collect(value, places)


def stream(random: Random, original: bytes) -> bytes:
    """A copy of some bytes with one to four faults: bytes changed, left out, doubled or put in."""
    data = bytearray(original)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(data) + 1)
        length = random.choice((1, 1, 2, 8, 40))
        chance = random.random()
        if chance < 0.35 and place < len(data):
            data[place] = random.randrange(256)
        elif chance < 0.55:
            del data[place : place + length]
        elif chance < 0.7:
            data[place:place] = data[place : place + length]
        else:
            data[place:place] = random.choice(_TOKENS)
    return bytes(data)
