"""The cluster's certificates, tokens and kubeconfigs, made with openssl."""

import base64
import json
import secrets
import subprocess
from pathlib import Path

_CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "365"]


def write(folder: Path, addresses: list[str], nodes: list[str]) -> dict[str, str]:
    """Fills `folder`: one authority, the API server's certificate, the front proxy's, a signing key, tokens.csv.

    Returns:
        The token of each user: "admin" and the names in `nodes`.
    """
    folder.mkdir(parents=True)
    (folder / "openssl.cnf").write_text(_CONFIG)
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    alternatives = [*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)]
    for authority in ("ca", "front-ca"):
        _openssl(folder, "-subj", f"/CN=mooring-{authority}", "-extensions", "ca", *_files(authority))
    _leaf(folder, "apiserver", "ca", "serverAuth", f"subjectAltName=critical,{','.join(alternatives)}")
    _leaf(folder, "front-proxy", "front-ca", "clientAuth")
    # The older key format: from it the API server takes the public half too.
    _run("openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", folder / "sa.key")
    tokens = {user: secrets.token_hex(16) for user in ["admin", *nodes]}
    rows = [f"{tokens['admin']},admin,admin,system:masters"]
    rows += [f"{tokens[node]},system:node:{node},{node},system:nodes" for node in nodes]
    (folder / "tokens.csv").write_text("\n".join(rows) + "\n")
    (folder / "tokens.csv").chmod(0o600)
    return tokens


def write_kubeconfig(path: Path, server: str, authority: Path, token: str, namespace: str = "default") -> Path:
    """Writes a kubeconfig (as JSON, which is YAML) that needs no other file; returns `path`.

    Args:
        server: the API server's URL.
        authority: the certificate of the authority that signed the server's.
    """
    encoded = base64.b64encode(authority.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "mooring", "cluster": {"server": server, "certificate-authority-data": encoded}}],
        "users": [{"name": "mooring", "user": {"token": token}}],
        "contexts": [{"name": "mooring", "context": {"cluster": "mooring", "user": "mooring", "namespace": namespace}}],
        "current-context": "mooring",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
    return path


def _leaf(folder: Path, name: str, authority: str, usage: str, *extensions: str) -> None:
    fixed = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", f"extendedKeyUsage={usage}"]
    wanted = [word for extension in [*fixed, *extensions] for word in ("-addext", extension)]
    signer = ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key"]
    _openssl(folder, "-subj", f"/CN={name}", *signer, *wanted, *_files(name))


def _files(name: str) -> list[str]:
    return ["-keyout", f"{name}.key", "-out", f"{name}.crt"]


def _openssl(folder: Path, *arguments: str) -> None:
    _run("openssl", "req", "-x509", "-config", "openssl.cnf", *_KEY, *arguments, cwd=folder)


def _run(*argv: str | Path, cwd: Path | None = None) -> None:
    subprocess.run(argv, cwd=cwd, check=True, capture_output=True)
