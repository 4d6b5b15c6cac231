"""The committed descriptors: made from the .proto files, and equal to what clients were generated from."""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2, service_pb2

from mooring_runtime.frontends.grpc import schema
from mooring_runtime.frontends.grpc.schema import health, inference
from mooring_runtime.frontends.grpc.service import SERVICE, methods
from tests.support.serving import Served

HERE = Path(schema.__file__).parent


def compiled(name: str) -> FileDescriptorProto:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "set")
        assert protoc.main(["protoc", f"-I{HERE}", f"--descriptor_set_out={out}", f"{name}.proto"]) == 0
        found = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    [file] = found.file
    return file


@pytest.mark.parametrize("name", ["inference", "health"])
def test_descriptors_are_those_of_the_proto_files(name: str, update_golden: bool) -> None:
    file = HERE / f"{name}.binpb"
    made = compiled(name)
    if update_golden:
        file.write_bytes(made.SerializeToString())
    assert FileDescriptorProto.FromString(file.read_bytes()) == made


def messages_of(*modules: Any) -> dict[str, DescriptorProto]:
    """Every message by its full name, nested ones too."""
    found: dict[str, DescriptorProto] = {}

    def add(prefix: str, message: DescriptorProto) -> None:
        found[prefix + message.name] = message
        for nested in message.nested_type:
            add(f"{prefix}{message.name}.", nested)

    for module in modules:
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            add("", message)
    return found


THEIRS = messages_of(service_pb2, model_config_pb2)
FILE = inference.ModelInferRequest.DESCRIPTOR.file
OURS = messages_of(SimpleNamespace(DESCRIPTOR=FILE))
KSERVES = {"RepositoryModelLoadResponse", "RepositoryModelUnloadResponse"}
CONFIGURATION = set(messages_of(model_config_pb2))


def fields(message: DescriptorProto) -> dict[str, tuple[int, int, int, str, str]]:
    return {
        field.name: (
            field.number,
            field.type,
            field.label,
            field.type_name,
            message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "",
        )
        for field in message.field
    }


def test_every_field_is_tritons() -> None:
    for name, message in OURS.items():
        if name in KSERVES:
            continue
        ours, theirs = fields(message), fields(THEIRS[name])
        assert ours == {field: theirs[field] for field in ours}, name
        if name not in CONFIGURATION:
            assert set(ours) == set(theirs), name
    assert set(THEIRS) - CONFIGURATION <= set(OURS)


def test_loads_are_answered_as_kserve_does() -> None:
    """Triton's messages are empty, so that its clients skip these."""
    text, flag = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_BOOL
    for name, done in (("Load", "isLoaded"), ("Unload", "isUnloaded")):
        found = fields(OURS[f"RepositoryModel{name}Response"])
        assert {field: told[:2] for field, told in found.items()} == {"model_name": (1, text), done: (2, flag)}
        assert not fields(THEIRS[f"RepositoryModel{name}Response"])


def test_every_enum_value_is_tritons() -> None:
    ours = {value.name: value.number for value in FILE.enum_types_by_name["DataType"].values}
    assert ours == dict(model_config_pb2.DataType.items())


def test_every_method_of_the_protocols_is_answered() -> None:
    served = methods(Served().services)
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    wanted = {f"/{SERVICE}/{method.name}" for method in theirs}
    assert len(wanted) == 20
    wanted |= {f"/grpc.health.v1.Health/{name}" for name in ("Check", "Watch")}
    assert {path.decode() for path in served} == wanted


def test_the_services_of_our_proto_file_are_tritons() -> None:
    ours = {
        (method.name, method.input_type.name, method.output_type.name, method.client_streaming, method.server_streaming)
        for method in FILE.services_by_name["GRPCInferenceService"].methods
    }
    theirs = {
        (method.name, method.input_type.name, method.output_type.name, method.client_streaming, method.server_streaming)
        for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    }
    assert ours == theirs


def test_a_message_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match=r"health.proto has no message Nothing"):
        _ = health.Nothing
