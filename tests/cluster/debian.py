"""Debian's archive: where this host takes it from, and packages of any of its releases, which are not installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .places import ClusterError

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# What apt-get says of an archive that answers, and has not what it is asked for.
_LACKING = ("does not have a Release file", "Unable to locate package", "has no installation candidate")


class UnavailableError(ClusterError):
    """A package cannot be had here, and trying again changes nothing; the message is one line."""


def mirror() -> str:
    """The archive that this host installs Debian's packages from: MOORING_DEBIAN_MIRROR, or what the apt sources name.

    Raises:
        UnavailableError: neither names one.
    """
    if chosen := os.environ.get("MOORING_DEBIAN_MIRROR"):
        return chosen
    # Without --no-release-info it tells nothing while the lists are empty, as a fresh machine's are.
    argv = ["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI) $(COMPONENT)"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=False).stdout if shutil.which("apt-get") else ""
    for line in listed.splitlines():
        address, _, component = line.partition(" ")
        if component == "main" and address.rstrip("/").endswith("/debian"):
            return address
    raise UnavailableError("the apt sources name no archive of Debian: set MOORING_DEBIAN_MIRROR to its URL")


def unpack(suite: str, packages: Sequence[str], folder: Path) -> None:
    """Fetches packages of a release and unpacks them below a folder: 10 s. The host's own lists, which may be empty or
    of another release, are neither read nor written, so no root is needed. Signatures are checked by the host's keys.

    Args:
        suite: the release's name, such as "trixie".
        packages: their names; what they depend on is not fetched.

    Raises:
        UnavailableError: apt-get or dpkg-deb is not here, or the host's archive has not that release or package.
        ClusterError: the archive does not answer, or is not what it should be.
    """
    if absent := [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]:
        raise UnavailableError(f"{' and '.join(packages)}: not installed, and {' and '.join(absent)} are not here")
    archive = mirror()
    with tempfile.TemporaryDirectory() as name:
        private = Path(name)
        apt = ["apt-get", "-q", *_options(suite, archive, private)]
        try:
            # Else an archive that does not answer is a warning, and then its packages seem to be unknown.
            _run([*apt, "-o", "APT::Update::Error-Mode=any", "update"], private)
            _run([*apt, "download", *packages], private)
        except ClusterError as error:
            if not any(words in str(error) for words in _LACKING):
                raise
            wanted = f"Debian {suite} with {' and '.join(packages)}"
            raise UnavailableError(f"{archive} has no {wanted}: set MOORING_DEBIAN_MIRROR to one that has") from error
        for package in sorted(private.glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(package), str(folder)], private)


def _options(suite: str, archive: str, private: Path) -> list[str]:
    """What keeps apt-get away from the host's lists, sources, preferences and installed versions."""
    (private / "lists" / "partial").mkdir(parents=True)
    # The keys that Debian's own sources name; on other systems those that apt trusts anyway.
    signed = f"signed-by={_KEYRING} " if _KEYRING.exists() else ""
    (private / "sources.list").write_text(f"deb [{signed}target=Packages] {archive} {suite} main\n")
    settings = {
        "APT::Default-Release": suite,
        # apt-get would else complain that its own user cannot write here.
        "APT::Sandbox::User": "root",
        "Dir::Cache": private,
        "Dir::Etc::Preferences": "-",
        "Dir::Etc::PreferencesParts": "-",
        "Dir::Etc::SourceList": private / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": private / "lists",
        "Dir::State::status": "/dev/null",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _run(argv: Sequence[str], folder: Path) -> None:
    # Its words are looked at.
    env = {**os.environ, "LC_ALL": "C"}
    result = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ClusterError(f"`{' '.join(argv)}` failed:\n{result.stdout[-1000:]}{result.stderr[-2000:]}")
