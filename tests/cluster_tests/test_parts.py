"""The parts of the cluster package that need no cluster."""

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest

from tests.cluster import oci, processes, progress
from tests.cluster.__main__ import main
from tests.cluster.places import ClusterError, digest_of, state_folder


def test_equal_files_make_equal_images(tmp_path: Path) -> None:
    files = {"models/b.onnx": b"two", "a.txt": b"one"}
    first = oci.write(tmp_path / "first.tar", "localhost/x:1", files)
    second = oci.write(tmp_path / "second.tar", "localhost/x:1", dict(reversed(files.items())))

    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()
    assert oci.names(tmp_path / "first.tar") == ("localhost/x:1", f"localhost/x@{first}")
    assert second == first != oci.write(tmp_path / "third.tar", "localhost/x:1", {**files, "a.txt": b"1"})


def test_every_blob_of_an_image_has_the_digest_it_is_named_by(tmp_path: Path) -> None:
    oci.write(tmp_path / "image.tar", "localhost/x:1", {"deep/er/file": b"content"}, entrypoint=["/deep/er/file"])
    with tarfile.open(tmp_path / "image.tar") as tar:
        blobs = {name: tar.extractfile(name) for name in tar.getnames() if name.startswith("blobs/sha256/")}
        contents = {name.rpartition("/")[2]: blob.read() for name, blob in blobs.items() if blob is not None and name}
    contents.pop("sha256", None)
    manifest = next(value for value in map(_parsed, contents.values()) if value and "layers" in value)

    layer = contents[manifest["layers"][0]["digest"].removeprefix("sha256:")]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getnames() == ["deep", "deep/er", "deep/er/file"]
    assert {oci.digest(content) for content in contents.values()} == {f"sha256:{name}" for name in contents}


def test_a_digest_tells_contents_and_names_apart(tmp_path: Path) -> None:
    (tmp_path / "ab").write_text("c")
    first = digest_of([tmp_path], base=tmp_path)
    (tmp_path / "ab").rename(tmp_path / "a")
    (tmp_path / "a").write_text("bc")

    assert digest_of([tmp_path], base=tmp_path) != first
    assert digest_of([tmp_path], "flag", base=tmp_path) != digest_of([tmp_path], base=tmp_path)
    with pytest.raises(ClusterError, match="input of the build"):
        digest_of([tmp_path / "absent"])


@pytest.mark.parametrize("name", ["", "../up", "a/b", "x" * 41])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="letters, digits and dashes"):
        state_folder(name)


def test_a_failed_command_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"ended with 3; log .*\n  last words"):
        progress.logged(["sh", "-c", "echo last words; exit 3"], tmp_path / "log")


def test_a_step_shows_its_name_and_time_and_failure() -> None:
    shown = io.StringIO()
    with pytest.raises(ValueError), progress.step("build it", shown):
        raise ValueError

    assert shown.getvalue().splitlines() == ["build it … 0 s", "build it … failed after 0 s"]


def test_a_stopped_component_is_gone(tmp_path: Path) -> None:
    component = processes.start(tmp_path, "sleeper", ["sh", "-c", "echo started; exec sleep 60"])
    assert component.alive()
    assert processes.find(tmp_path, "sleeper") == component
    # For a moment a process that becomes another program shows no environment.
    processes.wait_until(lambda: component.pid in processes.marked(tmp_path), 10, "its mark to be seen")

    processes.stop(component)
    assert not component.alive()
    processes.forget(tmp_path, component)
    with pytest.raises(ClusterError, match="no component 'sleeper'"):
        processes.find(tmp_path, "sleeper")


def test_a_component_lives_while_any_of_its_threads_does(tmp_path: Path) -> None:
    """A server killed in the middle of its work is shown as a zombie before the last thread lets go of its port."""
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "ctypes.PyDLL(None).pthread_exit(None)"
    )
    component = processes.start(tmp_path, "headless", [sys.executable, "-c", script])
    state = Path(f"/proc/{component.pid}/stat")
    processes.wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z", 10, "its first thread to end")
    assert component.alive()

    processes.stop(component)
    assert not component.alive()


def test_what_a_verb_cannot_do_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", f"--state={tmp_path}", "--", "true"]) == 1
    assert capsys.readouterr().err.startswith("error: no cluster stands in ")


def _parsed(content: bytes) -> dict[str, list[dict[str, str]]] | None:
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
