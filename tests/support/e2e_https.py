"""Servers over https beside the cluster, on a node's own, private, address: processes that tests start and end."""

import http.server
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster import network
from tests.cluster.cluster import Cluster
from tests.support.certificates import Pair
from tests.support.e2e_service import ROOT

ADDRESS = network.node_address(0)


@contextmanager
def running(cluster: Cluster, module: str, port: int, pair: Pair, *arguments: str) -> Iterator[None]:
    """Runs `module` with ADDRESS, the port, the files of the pair and what else it wants, while the block runs."""
    argv = [sys.executable, "-m", module, ADDRESS, str(port), *map(str, pair), *arguments]
    # In the cluster's own namespaces a relative path would still be this checkout's.
    with subprocess.Popen(
        cluster.command(*argv), cwd=ROOT, env=cluster.env(), stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "listening\n"
            yield
        finally:
            server.terminate()


def serve(handler: Callable[..., Any], address: str, port: str, certificate: str, key: str) -> None:
    """What such a module does, for ever: one line "listening", then answers by `handler`."""
    server = http.server.ThreadingHTTPServer((address, int(port)), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("listening", flush=True)
    server.serve_forever()
