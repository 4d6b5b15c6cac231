"""The end of a router: no new connections to it, and time for what is under way."""

from .model import Router

DRAIN_SECONDS = 60
"""The longest that requests under way are waited for."""
_SCRIPT = """\
ask() {{
  exec 3<>/dev/tcp/{host}/{port} || exit 1
  printf '%s %s HTTP/1.1\\r\\nhost: admin\\r\\nconnection: close\\r\\ncontent-length: 0\\r\\n\\r\\n' "$1" "$2" >&3
  cat <&3
  exec 3>&-
}}
ask POST /healthcheck/fail >/dev/null
sleep {settle}
for _ in {{1..{most}}}; do
  [[ $(ask GET '/stats?filter=^http.traffic.downstream_rq_active$') == *'rq_active: 0'* ]] && exit 0
  sleep 1
done
"""


def drain(router: Router) -> list[str]:
    """Return the command that runs before the router is told to stop, which ends it at once.

    From its first line on the router is not ready, and each answer asks its client for another connection. Listeners
    stay open: who has not heard of it yet is served. It needs bash and no other program but cat and sleep, for Envoy's
    image has no curl, and what a kubelet asks itself is always a GET, which the admin interface takes no orders by.
    """
    script = _SCRIPT.format(
        host=router.admin.host,
        port=router.admin.port,
        settle=router.settle_seconds,
        most=DRAIN_SECONDS - router.settle_seconds,
    )
    return ["/bin/bash", "-c", script]
