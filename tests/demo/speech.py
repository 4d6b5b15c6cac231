"""A stream of sound to examples/speech, a pod that is killed in the middle of it, and what the model itself says."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from examples.speech.client import RATE, SAMPLES, Stream, chunks, voice
from mooring_runtime.messages import Array
from tests.cluster import cgroups
from tests.cluster.cluster import Cluster
from tests.cluster.places import ROOT, ClusterError
from tests.cluster.processes import wait_until

from .ask import listed
from .install import NAMESPACE

NAME = "speech"
CLIENT = ROOT / "examples" / "speech" / "client.py"
SECONDS = 6.0
"""Of sound; it is sent as fast as it is spoken."""
CONTEXT = 64
"""Samples of the last chunk that the model wants in front of the next one."""
TOLERANCE = 1e-5
_SHOWN = 6  # Each so many chunks are one line.


def model() -> Path:
    """The model's file in its own package, whose code wants torch and is not imported."""
    return Path(str(distribution("silero-vad").locate_file("silero_vad/data/silero_vad.onnx")))


def own(sound: Sequence[Sequence[float]]) -> list[float]:
    """What the package's own wrapper says of these chunks: the same steps, without torch.

    `tests/runtime/torch/test_torch_speech.py` holds it against that wrapper.
    """
    return [speech for speech, _ in steps(sound)]


def steps(sound: Iterable[Sequence[float]]) -> Iterator[tuple[float, Array]]:
    """What `own` gives, chunk by chunk, and the state after each: FP32 [2, 1, 128]."""
    session = _loaded()
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32)
    for chunk in sound:
        heard = np.concatenate([context, np.array([chunk], np.float32)], axis=1)
        output, state = session.run(None, {"input": heard, "state": state, "sr": np.array(RATE)})
        context = heard[:, -CONTEXT:]
        yield float(output.item()), state


@cache
def _loaded() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model()), options, providers=["CPUExecutionProvider"])


def play(cluster: Cluster, url: str) -> None:
    """Streams, kills the pod that has the session in the middle, and compares.

    Raises:
        ClusterError: a step was lost or answered otherwise than by the model itself, or no step noticed the crash.
    """
    sound = list(chunks(voice(SECONDS)))
    print(
        f"\n{SECONDS:.0f} s of sound, made up; somebody speaks in the middle third. It goes out in {len(sound)} steps."
    )
    heard: list[float] = []
    with closing(Stream(url, NAME, tell=lambda line: print(f"   !   {line}", flush=True))) as stream:
        began = time.monotonic()
        for index, chunk in enumerate(sound):
            if index == len(sound) // 2:
                killed = kill(cluster, holder(url, stream.session))
                pause = time.monotonic()
            time.sleep(max(0.0, began + index * SAMPLES / RATE - time.monotonic()))
            heard.append(stream.send(chunk, last=index == len(sound) - 1))
            if index == len(sound) // 2:
                began += time.monotonic() - pause  # What is spoken meanwhile waits.
            if index == 0:
                pod = f"{NAME}-{holder(url, stream.session)}"
                print(f"Session {stream.session}; its state is on the volume of pod {pod}.\n", flush=True)
            if index % _SHOWN == 0:
                bar = "#" * round(40 * heard[-1])
                print(f"{index * SAMPLES / RATE:7.3f} s  {heard[-1]:.3f}  {bar}", flush=True)
        applied = int(_session(url, stream.session)["step"])
    expected = own(sound)
    difference = max(abs(one - other) for one, other in zip(heard, expected, strict=True))
    print(f"\n{stream.step} steps were answered, the service has applied {applied}; {stream.retries} requests were")
    print(f"sent again while {killed} was down. The model's own wrapper, which heard the sound in one piece and was")
    print(f"never killed, differs by {difference:.1e} at most.")
    if applied != len(sound) or difference > TOLERANCE:
        raise ClusterError(f"{len(sound)} steps were sent, {applied} applied, the largest difference is {difference}")
    if not stream.retries:
        raise ClusterError(f"no step noticed that {killed} was killed")
    print("Nothing was lost.\n")


def holder(url: str, session: str) -> int:
    """The ordinal of the replica that has the session."""
    return int(_session(url, session)["owner"])


def kill(cluster: Cluster, ordinal: int) -> str:
    """kill -9 for all that runs in a replica's pod; on somebody else's nodes, a forced deletion. Returns its name."""
    name = f"{NAME}-{ordinal}"
    if not cluster.address:
        print(f"   !   kubectl delete pod {name} --force --grace-period=0", flush=True)
        cluster.kubectl("delete", "pod", name, "--namespace", NAMESPACE, "--force", "--grace-period=0", "--wait=false")
        return name
    status = cluster.get("pod", name, "--namespace", NAMESPACE)["status"]
    identities = [one["containerID"].rpartition("/")[2] for one in status["containerStatuses"]]
    processes = {process for identity in identities for process in cgroups.container(cluster.state, identity)}
    print(f"   !   kill -9 for all {len(processes)} processes of pod {name}", flush=True)
    for process in processes:
        os.kill(process, signal.SIGKILL)
    return name


def back(cluster: Cluster) -> None:
    """Waits until every replica is ready again."""
    selector = f"mooring.dev/inferenceservice={NAME},app.kubernetes.io/component=server"
    argv = ["wait", "--namespace", NAMESPACE, "--for=condition=Ready", "pod", "-l", selector, "--timeout=60s"]
    wait_until(lambda: cluster.run("kubectl", *argv, check=False, timeout=90).returncode == 0, 90, "the pods")


def next_steps(prepare: Sequence[str], again: str, down: str) -> str:
    """What to try next with this service."""
    kubectl = f"kubectl -n {NAMESPACE}"
    steps = [
        ("The service, and what the operator made of it", f"{kubectl} get infsvc,sts,deploy,svc,pod,pvc"),
        ("What it says of itself, and of its sessions", f"{kubectl} describe infsvc {NAME}"),
        ("Who is a member", f"{kubectl} get configmap {NAME}-membership -o jsonpath='{{.data}}'"),
        (
            "Another replica; sessions of the others that are its own move there",
            f"{kubectl} scale infsvc {NAME} --replicas=3",
        ),
        ("Back to two; it hands its sessions over before it goes", f"{kubectl} scale infsvc {NAME} --replicas=2"),
        ("Stream again, and do what you like to the pods meanwhile", again),
        ("Leave nothing", down),
    ]
    return listed(prepare, steps)


def _session(url: str, session: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/v2/sessions/{session}", timeout=10) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found
