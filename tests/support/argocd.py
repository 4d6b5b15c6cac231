"""Argo CD's view of a service: examples/argocd/health.lua, run as Argo CD runs it."""

from pathlib import Path
from typing import Any

import lupa

EXAMPLES = Path(__file__).parents[2] / "examples" / "argocd"
SCRIPT = (EXAMPLES / "health.lua").read_text()


def health(obj: dict[str, Any]) -> tuple[str, str]:
    """What Argo CD shows: status, message. As there, the script gets no standard library beyond the base functions."""
    lua = lupa.LuaRuntime(register_eval=False)
    for library in ("os", "io", "package", "require", "debug", "python"):
        lua.globals()[library] = None
    lua.globals().obj = lua.table_from(obj, recursive=True)
    result = lua.execute(SCRIPT)
    return result.status, result.message
