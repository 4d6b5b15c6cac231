"""What a SageMaker container must be: where its model is, and on which port it answers. Pure."""

from collections.abc import Mapping

from mooring_runtime.settings import kinds
from mooring_runtime.settings.variables import SettingsError

PORT = "SAGEMAKER_BIND_TO_PORT"
"""Set by SageMaker; its presence says that we are a container of it."""
MODE = "MOORING_SAGEMAKER"
"""Says so where the variable above is missing, as in a container that is tried out elsewhere."""
_DEFAULTS = {"MOORING_HTTP_PORT": "8080"}
_MODEL = {"MOORING_MODEL_PATH": "/opt/ml/model", "MOORING_MODEL_NAME": "model"}
"""Where SageMaker unpacks the model, and a name for it, which its clients never see."""


def adapted(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment as SageMaker means it; unchanged outside of SageMaker. What is set already stays.

    But the port that SageMaker names is the one that it sends requests to, so it wins. Raises SettingsError for one
    that is none.
    """
    told = environment.get(PORT, "").strip()
    if not told and not _on(environment.get(MODE, "").strip()):
        return environment
    found = {**_DEFAULTS, **environment}
    if not found.get("MOORING_MODEL_REPOSITORY") and not found.get("MOORING_MODEL_PATH"):
        found.update({name: value for name, value in _MODEL.items() if not found.get(name)})
    if told:
        kind = kinds.port()
        try:
            found["MOORING_HTTP_PORT"] = str(kind.parse(told))
        except ValueError:
            raise SettingsError(f"{PORT} is {told!r}: it must be {kind.allowed}") from None
    return found


def _on(text: str) -> bool:
    try:
        return bool(text) and kinds.flag().parse(text)
    except ValueError:
        return False  # Told with the other settings.
