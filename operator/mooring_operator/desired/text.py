"""Manifests as YAML for people."""

import yaml

from ..facts import Manifest


def text(manifests: list[Manifest]) -> str:
    """Return YAML documents, keys in the order in which they were made; files and scripts line by line."""
    written: str = yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, width=120)
    return written


class _Dumper(yaml.SafeDumper):
    """The usual one, with a style of its own for texts of several lines."""


def _represent(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent)
