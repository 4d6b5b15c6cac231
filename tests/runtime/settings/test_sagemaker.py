import pytest

from mooring_runtime.settings import ServeSettings, SettingsError, load
from mooring_runtime.settings.sagemaker import adapted


def test_outside_of_sagemaker_nothing_changes() -> None:
    for environment in ({}, {"MOORING_SAGEMAKER": "false"}, {"MOORING_SAGEMAKER": "maybe"}):
        assert adapted(environment) is environment


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({"MOORING_SAGEMAKER": "true"}, "8080"),
        ({"SAGEMAKER_BIND_TO_PORT": "9000"}, "9000"),
        ({"SAGEMAKER_BIND_TO_PORT": "9000", "MOORING_HTTP_PORT": "8000"}, "9000"),
        ({"MOORING_SAGEMAKER": "1", "MOORING_HTTP_PORT": "8000"}, "8000"),
    ],
)
def test_the_port(environment: dict[str, str], port: str) -> None:
    assert adapted(environment)["MOORING_HTTP_PORT"] == port


def test_the_model_is_where_sagemaker_unpacks_it() -> None:
    settings = load(ServeSettings, adapted({"SAGEMAKER_BIND_TO_PORT": "9000"}))
    assert (settings.http_port, str(settings.model_path), settings.model_name) == (9000, "/opt/ml/model", "model")


def test_a_model_that_is_told_stays() -> None:
    own = {"MOORING_MODEL_PATH": "/m", "MOORING_MODEL_NAME": "mine", "MOORING_SAGEMAKER": "true"}
    assert adapted(own) == {**own, "MOORING_HTTP_PORT": "8080"}
    many = adapted({"MOORING_MODEL_REPOSITORY": "/models", "MOORING_SAGEMAKER": "true"})
    assert "MOORING_MODEL_PATH" not in many
    named = adapted({"MOORING_MODEL_NAME": "mine", "MOORING_SAGEMAKER": "true"})
    assert named["MOORING_MODEL_NAME"] == "mine"


def test_a_port_that_is_none_is_told() -> None:
    with pytest.raises(SettingsError, match="SAGEMAKER_BIND_TO_PORT is 'x': it must be a whole number"):
        adapted({"SAGEMAKER_BIND_TO_PORT": "x"})
