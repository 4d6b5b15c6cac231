"""Where models lie on disk: one at a path, or many in a directory.

    MOORING_MODEL_PATH        a file, or a directory with one model; `mooring.json` beside the file
    MOORING_MODEL_REPOSITORY  NAME/VERSION/model.onnx, versions being whole numbers from 1; or NAME/model.onnx, which is
                              version 1; `mooring.json` in NAME/, or in NAME/VERSION/ for that version alone

Everything here reads the disk, and is called on a thread.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from mooring_runtime.errors import ModelInvalid, ModelNotFound
from mooring_runtime.repository import config, triton_config
from mooring_runtime.repository.config import ModelConfig, VersionPolicy
from mooring_runtime.repository.files import find_model_file, unreadable
from mooring_runtime.settings import ServeSettings
from mooring_runtime.settings.kinds import model_name

log = logging.getLogger(__name__)

VERSION = "1"
"""Of a model that has no directory for each version."""
_VERSION = re.compile("[1-9][0-9]{0,18}")

Stamp = tuple[object, ...]
"""Differs when a file of the model, or what a client said of it, does."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where one version of a model comes from."""

    path: Path
    """A file, or a directory that holds one."""
    format: str | None = None
    sha256: str | None = None
    version: str = VERSION
    config: ModelConfig = field(default_factory=ModelConfig)
    """What the model's own files, and the client that asked for the load, say of it."""
    stamp: Stamp | None = None
    """None: nobody looked, so a load reads it again whatever was loaded before."""
    variable: str = ""
    """The setting that names the path, for errors."""

    def file(self) -> Path:
        """The model's file. Raises ModelNotFound, UnsafeFormat. Blocks."""
        try:
            return find_model_file(self.path, self.config.file, self.format)
        except ModelNotFound as error:
            if not self.variable:
                raise
            raise ModelNotFound(f"{self.variable}: {error}") from error

    def under(self, settings: ServeSettings) -> "ModelSource":
        """This, with what the settings say in place of what the model says."""
        return replace(self, config=self.config.under(settings))

    @property
    def directory(self) -> Path:
        """Where the files beside the model's are."""
        return self.path if self.path.is_dir() else self.path.parent


class Stock(Protocol):
    """The models that could be loaded."""

    def names(self) -> list[str]:
        """All names. Raises ModelNotFound where there is nothing to read."""

    def has(self, name: str) -> bool:
        """Whether there is a model of that name."""

    def read(self, name: str, said: str | None = None) -> list[ModelSource]:
        """The versions to serve, rising; `said` is Triton's configuration from a client, as JSON.

        Raises ModelNotFound, ModelInvalid.
        """


class SingleModel:
    """One model at a path, as MOORING_MODEL_PATH names it."""

    def __init__(self, name: str, source: ModelSource) -> None:
        self._name = name
        self._source = source

    def names(self) -> list[str]:
        """The one name."""
        return [self._name]

    def has(self, name: str) -> bool:
        """Whether it is the one name."""
        return name == self._name

    def read(self, name: str, said: str | None = None) -> list[ModelSource]:
        """The model in its only version; see `Stock.read`."""
        source = self._source
        try:
            own = config.read(source.directory) or ModelConfig()
        except OSError as error:
            raise ModelNotFound(f"{source.variable}: {unreadable(source.path, error)}") from error
        own = own if said is None else triton_config.parse(said, name, own)
        own.versions.choose([int(source.version)])
        return [replace(source, config=own)]


class ModelDirectory:
    """Many models, each in a directory of its own below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self) -> list[str]:
        """The names of the directories, in order; hidden ones and those that no model may have are left out."""
        try:
            found = sorted(entry.name for entry in self._root.iterdir() if entry.is_dir())
        except OSError as error:
            raise ModelNotFound(
                f"MOORING_MODEL_REPOSITORY is {self._root}: it cannot be read by user {os.getuid()}: {error.strerror}"
            ) from error
        return [name for name in found if is_name(name)]

    def has(self, name: str) -> bool:
        """Whether there is a directory of that name."""
        try:
            return is_name(name) and (self._root / name).is_dir()
        except OSError:  # Not ours to look at.
            return False

    def read(self, name: str, said: str | None = None) -> list[ModelSource]:
        """See `Stock.read`."""
        return read_versions(self._root / name, name, said)


def stock_of(settings: ServeSettings) -> Stock:
    """Where the settings say that models are."""
    if settings.model_repository is not None:
        return ModelDirectory(settings.model_repository)
    assert settings.model_path is not None, "ServeSettings.faults has seen to it"
    source = ModelSource(
        settings.model_path, settings.model_format, settings.model_sha256, variable="MOORING_MODEL_PATH"
    )
    return SingleModel(settings.model_name, source)


def wanted(stock: Stock, settings: ServeSettings) -> tuple[list[str], list[str]]:
    """(names to load at the start, names that are there as well).

    Raises ModelNotFound where there is nothing, or not what MOORING_LOAD_MODELS names.
    """
    there = stock.names()
    if settings.load_models is None:
        if not there and settings.model_control == "none":
            raise ModelNotFound(f"MOORING_MODEL_REPOSITORY is {settings.model_repository}: it has no models")
        return there, []
    for name in settings.load_models:
        if name not in there:
            raise ModelNotFound(
                f"MOORING_LOAD_MODELS names '{name}', of which MOORING_MODEL_REPOSITORY has no directory; it has "
                f"{', '.join(there) or 'none'}"
            )
    return list(settings.load_models), [name for name in there if name not in settings.load_models]


def read_versions(directory: Path, name: str, said: str | None) -> list[ModelSource]:
    """The versions to serve of the model in `directory`, rising; see `Stock.read`."""
    try:
        return list(_read_versions(directory, name, said))
    except OSError as error:
        raise ModelNotFound(f"cannot read {error.filename or directory}: {error.strerror}") from error


def _read_versions(directory: Path, name: str, said: str | None) -> Iterator[ModelSource]:
    own = config.read(directory) or ModelConfig()
    whole = own if said is None else triton_config.parse(said, name, own)
    entries = sorted(directory.iterdir())
    if any(entry.name == "config.pbtxt" for entry in entries):
        log.warning("%s/config.pbtxt is not read: say what it says in %s", directory, config.NAME)
    there = {int(entry.name): entry for entry in entries if _VERSION.fullmatch(entry.name) and entry.is_dir()}
    for number in whole.versions.choose(there or [int(VERSION)]):
        path = there.get(number, directory)
        mine = config.read(path) if there else None
        if mine is None:
            mine = whole
        elif mine.versions != VersionPolicy():
            raise ModelInvalid(
                f"{path / config.NAME} has the key 'versions': it belongs into {directory / config.NAME}"
            )
        elif said is not None:
            mine = triton_config.parse(said, name, mine)
        yield ModelSource(path, version=str(number), config=mine, stamp=(said, *_stamp(directory, path)))


def is_name(text: str) -> bool:
    """Whether a directory of this name can be a model's."""
    if text.startswith(".") or text == "lost+found":
        return False
    try:
        model_name().parse(text)
        text.encode()  # The name of a directory may be bytes that are no UTF-8, which no protocol can carry.
    except ValueError:
        return False
    return True


def _stamp(*directories: Path) -> Stamp:
    """Names, sizes and times of all files of the last directory, and of those that lie in the first itself."""
    whole, own = directories[0], directories[-1]
    files: Sequence[Path] = [*(each for each in whole.iterdir()), *own.rglob("*")]
    found = set()
    for file in files:
        if file.is_file():
            state = file.stat()
            found.add((str(file), state.st_size, state.st_mtime_ns, state.st_ino))
    return tuple(sorted(found))
