"""A decoupled model, for every front end that can serve one."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mooring_runtime.backends.base import Backend
from mooring_runtime.errors import InferenceFailed
from mooring_runtime.messages import Array, ModelMetadata, Parameter, TensorSpec, Traits


class Speaker(Backend):
    """Answers `count` times with what was said and the number of the answer, then fails when told to."""

    device = "nowhere"
    memory = 0

    def __init__(self, *, fails: bool = False) -> None:
        inputs = (TensorSpec("text_input", "BYTES", (1,)), TensorSpec("count", "INT32", (1,)))
        outputs = (TensorSpec("text_output", "BYTES", (1,)),)
        traits = Traits(decoupled=True, parameters=True)
        self.metadata = ModelMetadata("speaker", "1", "test", inputs, outputs, traits)
        self.fails = fails
        self.parameters: Mapping[str, Parameter] = {}

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        raise AssertionError("only streams")

    def stream(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], parameters: Mapping[str, Parameter]
    ) -> Iterator[list[Array]]:
        self.parameters = parameters
        for number in range(inputs["count"].item()):
            yield [np.array([inputs["text_input"].item() + b" %d" % number], dtype=object)]
        if self.fails:
            raise InferenceFailed("lost its voice")
