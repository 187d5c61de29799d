"""What the local "Alibaba Cloud Linux 3" image holds: the host's programs under the image's own names.

The image is a set of read-only folders. Programs come from the host's /usr, with a layer of our own over it: `java`,
and the guest tools (`systemctl`, `dnf`, ...) that talk to the machine's init. The Python environment, the JDK and the
assembled OpenSearch are the ones that set-up cached, shown at the paths where an installation would have put them.
"""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import json
import os
import py_compile
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.localcloud.hypervisor import guest

METADATA_ADDRESS = "100.100.100.200"
PROXY_ADDRESS = "100.100.100.201"
PROXY_PORT = 3128

VENV = "/opt/ragrec/venv"
OPENSEARCH_HOME = "/usr/share/opensearch"
CA_BUNDLE = "/etc/pki/tls/certs/ca-bundle.crt"
JAVA_VERSION = 17
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_BY_HASH = py_compile.PycInvalidationMode.UNCHECKED_HASH  # the image never changes
_SITE_PACKAGES = f"lib/python{_VERSION}/site-packages"

OS_RELEASE = """\
NAME="Alibaba Cloud Linux"
VERSION="3 (OpenAnolis Edition)"
ID="alinux"
ID_LIKE="rhel fedora centos anolis"
VERSION_ID="3"
VARIANT="OpenAnolis Edition"
VARIANT_ID="openanolis"
ALINUX_MINOR_ID="2104"
PLATFORM_ID="platform:al8"
PRETTY_NAME="Alibaba Cloud Linux 3 (OpenAnolis Edition)"
ANSI_COLOR="0;31"
HOME_URL="https://www.aliyun.com/"
"""

_SHIM = """\
#!{interpreter} -IS
import sys
sys.path.insert(0, "/usr/lib/ragrec")
import guest
guest.main("{tool}", sys.argv[1:])
"""

# Package names of Alibaba Cloud Linux 3 and the file that shows that this image holds the package's programs.
_PACKAGES = {
    "bash": "/usr/bin/bash",
    "ca-certificates": CA_BUNDLE,
    "coreutils": "/usr/bin/ls",
    "curl": "/usr/bin/curl",
    "findutils": "/usr/bin/find",
    "gawk": "/usr/bin/awk",
    "git": "/usr/bin/git",
    "grep": "/usr/bin/grep",
    "gzip": "/usr/bin/gzip",
    "java-17-alibaba-dragonwell": "/usr/bin/java",
    "java-17-alibaba-dragonwell-headless": "/usr/bin/java",
    "java-17-openjdk": "/usr/bin/java",
    "java-17-openjdk-headless": "/usr/bin/java",
    "jq": "/usr/bin/jq",
    "opensearch": f"{OPENSEARCH_HOME}/lib",
    "openssl": "/usr/bin/openssl",
    "procps-ng": "/usr/bin/ps",
    "python3": "/usr/bin/python3",
    "python3.11": f"{VENV}/bin/python3.11",
    "sed": "/usr/bin/sed",
    "shadow-utils": "/usr/sbin/useradd",
    "tar": "/usr/bin/tar",
    "unzip": "/usr/bin/unzip",
    "util-linux": "/usr/bin/setpriv",
    "wget": "/usr/bin/wget",
    "xz": "/usr/bin/xz",
}


class ImageError(RuntimeError):
    """A part of the image is missing on the host; the text says which and how to get it."""


@dataclass(frozen=True)
class Image:
    """Where the parts of the image lie on the host."""

    interpreter: Path  # the real Python, the same path on the host and in machines
    usr_layer: Path  # laid over the host's /usr
    binds: tuple[tuple[str, str], ...]  # (path on the host, path in machines), read-only, in order of mounting
    environment: Mapping[str, str]  # what every process of a machine starts with
    release: str = OS_RELEASE
    ca_certificate: str = ""  # the local cloud's own CA on the host; may appear after the image was described

    def document(self) -> dict[str, Any]:
        """JSON form, for `load`."""
        return {**asdict(self), "interpreter": str(self.interpreter), "usr_layer": str(self.usr_layer)}

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Image:
        """The image that `document` describes."""
        return cls(
            Path(document["interpreter"]),
            Path(document["usr_layer"]),
            tuple((source, target) for source, target in document["binds"]),
            dict(document["environment"]),
            document["release"],
            document["ca_certificate"],
        )


def describe(directory: Path, *, environ: Mapping[str, str] = os.environ) -> Image:
    """Finds the parts on this host and writes the image's own small files below `directory`.

    Args:
        directory: the local cloud's state; the files go to ``image/<digest>``, so that machines which run from an
            older image are not disturbed.
        environ: ``RAGREC_CACHE`` names the cache that set-up filled, ``JAVA_HOME`` a JDK that isn't on PATH.

    Raises:
        ImageError: no usable Java.
    """
    interpreter = Path(sys.executable).resolve()
    java_home = find_java(environ)
    caches = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    opensearch = find_opensearch(Path(environ.get("RAGREC_CACHE") or Path(caches, "ragrec")).expanduser())
    packages = {name: path for name, path in _PACKAGES.items() if name != "opensearch" or opensearch}
    packages_folder = find_packages_folder()
    layer, venv = _layer_files(interpreter, java_home, packages), _venv_files(interpreter, packages_folder)

    content = json.dumps([layer, venv, str(java_home), str(opensearch)], sort_keys=True)
    folder = directory / "image" / hashlib.sha256(content.encode()).hexdigest()[:12]
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _write_tree(folder / "usr", layer)
        compileall.compile_dir(folder / "usr" / "lib" / "ragrec", quiet=2, invalidation_mode=_BY_HASH)
        (folder / "usr" / OPENSEARCH_HOME.removeprefix("/usr/")).mkdir(parents=True)
        _write_tree(folder / "venv", venv)
        (folder / "complete").touch()

    binds = [*_interpreter_binds(Path(sys.base_prefix).resolve(), interpreter)]
    if not java_home.is_relative_to("/usr"):
        binds.append((str(java_home), str(java_home)))
    if opensearch:
        binds.append((str(opensearch), OPENSEARCH_HOME))
    binds.append((str(folder / "venv"), VENV))
    binds.append((str(packages_folder), f"{VENV}/{_SITE_PACKAGES}"))
    return Image(
        interpreter,
        folder / "usr",
        tuple(binds),
        default_environment(java_home),
        ca_certificate=str(directory / "ca.pem"),
    )


def default_environment(java_home: Path) -> dict[str, str]:
    """/etc/environment of the image: the way to the cloud's APIs, the certificates, Java."""
    proxy = f"http://{PROXY_ADDRESS}:{PROXY_PORT}"
    direct = f"{METADATA_ADDRESS},localhost,127.0.0.1,127.0.0.0/8,127.*"
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HTTP_PROXY": proxy,
        "HTTPS_PROXY": proxy,
        "http_proxy": proxy,
        "https_proxy": proxy,
        "NO_PROXY": direct,
        "no_proxy": direct,
        "SSL_CERT_FILE": CA_BUNDLE,
        "REQUESTS_CA_BUNDLE": CA_BUNDLE,
        "JAVA_HOME": str(java_home),
    }


def find_java(environ: Mapping[str, str]) -> Path:
    """The real home folder of a JDK or JRE, 17 or newer: ``JAVA_HOME``, else `java` on PATH, else /usr/lib/jvm.

    Raises:
        ImageError: there is none; lists what was looked at.
    """
    candidates: list[Path] = []
    if home := environ.get("JAVA_HOME"):
        candidates.append(Path(home))
    if java := shutil.which("java", path=environ.get("PATH")):
        candidates.append(Path(java).resolve().parents[1])
    candidates += sorted(Path("/usr/lib/jvm").glob("*17*"))
    for candidate in candidates:
        if (candidate / "bin" / "java").exists() and (java_version(candidate) or 0) >= JAVA_VERSION:
            return candidate.resolve()
    looked = ", ".join(map(str, candidates)) or "JAVA_HOME, PATH, /usr/lib/jvm"
    raise ImageError(f"Java {JAVA_VERSION} or newer not found (looked at {looked}): install it or set JAVA_HOME")


def java_version(home: Path) -> int | None:
    """Major version by the home folder's `release` file; None when it doesn't say."""
    try:
        text = (home / "release").read_text()
    except OSError:
        return None
    match = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    return int(match[1]) if match else None


def find_opensearch(cache: Path) -> Path | None:
    """The newest assembled OpenSearch home below `cache`, or None when set-up didn't assemble one."""
    homes = [jar.parents[1] for jar in (cache / "opensearch").glob("**/lib/opensearch-[0-9]*.jar")]
    return max(homes, key=lambda home: home.stat().st_mtime, default=None)


def find_packages_folder() -> Path:
    """The folder of the installed Python packages that this process runs with."""
    spec = importlib.util.find_spec("yaml")
    if spec is None or spec.origin is None:
        raise ImageError("the Python packages are not installed: run scripts/setup")
    return Path(spec.origin).resolve().parents[1]


def _interpreter_binds(prefix: Path, interpreter: Path) -> list[tuple[str, str]]:
    if prefix == Path("/usr"):
        return []
    if prefix == Path("/usr/local"):  # machines have their own /usr/local
        parts = [Path("/usr/local/lib"), interpreter]
        return [(str(part), str(part)) for part in parts]
    return [(str(prefix), str(prefix))]


# Files of a tree: text with a mode, or the target of a symbolic link.
_Tree = dict[str, tuple[str, str]]


def _layer_files(interpreter: Path, java_home: Path, packages: Mapping[str, str]) -> _Tree:
    """What lies over /usr, by path relative to it."""
    program = Path(guest.__file__).read_text()
    tree: _Tree = {
        "lib/ragrec/guest.py": ("644", program),
        "lib/ragrec/packages.json": ("644", json.dumps(packages, indent=1, sort_keys=True)),
    }
    tools = [*guest.TOOLS, *(guest.SINGLE_USER_TOOLS if os.geteuid() else ())]
    for tool in tools:
        tree[f"{'sbin' if tool in guest.ADMINISTRATION else 'bin'}/{tool}"] = (
            "755",
            _SHIM.format(interpreter=interpreter, tool=tool),
        )
    for name in ("java", "keytool"):
        tree[f"bin/{name}"] = ("link", str(java_home / "bin" / name))
    if not Path("/usr/bin/python3").exists():
        tree["bin/python3"] = ("link", str(interpreter))
    return tree


def _venv_files(interpreter: Path, packages_folder: Path) -> _Tree:
    """A virtual environment at `VENV` with the console scripts of ours; its packages are mounted."""
    tree: _Tree = {
        "pyvenv.cfg": ("644", f"home = {interpreter.parent}\ninclude-system-site-packages = false\n"),
        f"{_SITE_PACKAGES}/.keep": ("644", ""),
        "bin/python": ("link", str(interpreter)),
        "bin/python3": ("link", "python"),
        f"bin/python{_VERSION}": ("link", "python"),
    }
    for script in sorted((packages_folder.parents[2] / "bin").glob("*")):
        if script.is_symlink() or not script.is_file() or script.stat().st_size > 65536:
            continue
        lines = script.read_bytes().split(b"\n", 1)
        if lines[0].startswith(b"#!") and b"python" in lines[0] and len(lines) == 2:
            tree[f"bin/{script.name}"] = ("755", f"#!{VENV}/bin/python\n{lines[1].decode()}")
    return tree


def _write_tree(folder: Path, tree: _Tree) -> None:
    for name, (mode, content) in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == "link":
            path.symlink_to(content)
        else:
            path.write_text(content)
            path.chmod(int(mode, 8))
