"""Tell the types of files by the magika model behind a URL, and print magika's own answer beside each.

    python client.py --url http://localhost:8000 FILE...        needs: pip install magika tritonclient[http]

The magika package does all the work but one step. It reads a file, makes 2048 numbers of it, hands those to its
onnxruntime session and turns the 214 scores that come back into a label. Here that one step is done by a server: the
session is replaced by an object with the same `run`. magika has no public way to do so, hence the one private name
below; should a new version rename it, the script stops and says so, and does not answer wrongly.
"""

# ruff: noqa: T201 - a script prints

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import tritonclient.http as triton
from magika import Magika

SESSION = "_onnx_session"
"""Where magika 1.0 keeps its session."""


class RemoteSession:
    """Looks like onnxruntime's InferenceSession, and asks a server of the V2 protocol."""

    def __init__(self, url: str, model: str) -> None:
        parts = urlsplit(url)
        self._client = triton.InferenceServerClient(parts.netloc + parts.path.rstrip("/"), ssl=parts.scheme == "https")
        self._model = model

    def run(self, names: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """`feeds` maps "bytes" to rows of 2048 whole numbers; gives "target_label": 214 scores (FP32) a row."""
        inputs = []
        for name, rows in feeds.items():
            array = np.asarray(rows, dtype=np.int32)
            tensor = triton.InferInput(name, list(array.shape), "INT32")
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        outputs = [triton.InferRequestedOutput(name) for name in names]
        answer = self._client.infer(self._model, inputs, outputs=outputs)
        return [answer.as_numpy(name) for name in names]


def main() -> int:
    """Exit code 0 when every label is magika's own, else 1."""
    parser = argparse.ArgumentParser(description="Tell the types of files by a magika model that is served.")
    parser.add_argument("--url", default="http://localhost:8000", help="where the model is served")
    parser.add_argument("--model", default="file-type", help="its name there")
    parser.add_argument("files", metavar="FILE", nargs="+")
    options = parser.parse_args()
    local, remote = Magika(), Magika()
    if not hasattr(remote, SESSION):
        print(f"this version of magika keeps its session elsewhere than in {SESSION}", file=sys.stderr)
        return 1
    setattr(remote, SESSION, RemoteSession(options.url, options.model))
    width = max(len("FILE"), *map(len, options.files))
    print(f"{'FILE':{width}}  {'SERVED':20}  {'MAGIKA ITSELF':20}")
    same = True
    for file in options.files:
        if not (result := remote.identify_path(file)).ok:
            parser.error(f"{file}: {result.status}")
        served, own = result.prediction, local.identify_path(file).prediction
        alike = served.output.label == own.output.label
        same = same and alike
        words = [f"{answer.output.label} ({answer.score:.3f})" for answer in (served, own)]
        print(f"{file:{width}}  {words[0]:20}  {words[1]:20}{'' if alike else '  DIFFERENT'}".rstrip())
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
