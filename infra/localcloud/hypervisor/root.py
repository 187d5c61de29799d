"""The root folder of a machine: the image's parts read-only, the machine's own disk, fresh /proc, /dev, /run.

Everything is mounted in the machine's own mount namespace, so nothing is left behind when the machine ends and the
host never sees a mount below the machine's folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.localcloud.hypervisor import namespaces
from infra.localcloud.hypervisor.image import CA_BUNDLE, Image
from infra.localcloud.hypervisor.namespaces import MS_NODEV, MS_NOEXEC, MS_NOSUID

# The machine's own folders, kept in <machine>/disk across stop and start; "usr/local" lies below the image's /usr.
_DISK = ("etc", "home", "mnt", "opt", "root", "srv", "tmp", "usr/local", "var")
# What programs of the host's /usr need of the host's /etc.
_ETC = (
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "login.defs",
    "mime.types",
    "pam.conf",
    "pam.d",
    "protocols",
    "security",
    "services",
    "ssl",
)
_HOST_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_ACCOUNTS = """\
root:x:0:0:root:/root:/bin/bash
bin:x:1:1:bin:/bin:/sbin/nologin
daemon:x:2:2:daemon:/sbin:/sbin/nologin
mail:x:8:12:mail:/var/spool/mail:/sbin/nologin
nobody:x:65534:65534:Kernel Overflow User:/:/sbin/nologin
"""
_GROUPS = """\
root:x:0:
bin:x:1:
daemon:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
wheel:x:10:
mail:x:12:
users:x:100:
nobody:x:65534:
"""


def build(
    machine: Path, image: Image, *, hostname: str, address: str, mounts: Sequence[tuple[str, str, bool]]
) -> None:
    """Assembles the root folder at ``<machine>/root`` and makes it this process's root.

    Args:
        machine: the machine's folder on the host.
        image: what the machine's programs are.
        hostname: written at first boot.
        address: the machine's own; written at first boot.
        mounts: (folder of the host, path in the machine, read-only).

    Raises:
        OSError: a part can't be mounted; names it.
    """
    namespaces.mount("none", "/", flags=namespaces.MS_REC | namespaces.MS_PRIVATE)
    disk, root = machine / "disk", machine / "root"
    first = not disk.exists()
    for name in _DISK:
        (disk / name).mkdir(parents=True, exist_ok=True)
    (disk / "tmp").chmod(0o1777)
    # Others than root may have to pass through /root to the interpreter that lives there.
    (disk / "root").chmod(0o711)
    for name in ("bin", "lib", "libexec", "sbin", "share"):
        (disk / "usr/local" / name).mkdir(exist_ok=True)
    for name in ("cache", "lib", "log", "spool", "tmp"):
        (disk / "var" / name).mkdir(exist_ok=True)
    if first:
        (disk / "var" / "run").symlink_to("/run")
        (disk / "var" / "tmp").chmod(0o1777)
        write_etc(disk / "etc", image, hostname, address)
    write_certificates(disk / "etc", image)

    root.mkdir(exist_ok=True)
    namespaces.mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64m")
    for name in ("dev", "proc", "run", "sys", "usr"):
        (root / name).mkdir()
    lower = ":".join(_escape(path) for path in (image.usr_layer, Path("/usr")))
    namespaces.mount("overlay", root / "usr", "overlay", MS_NODEV, f"lowerdir={lower}")
    for path in (Path("/bin"), Path("/sbin"), *sorted(Path("/").glob("lib*"))):
        if path.is_symlink():
            (root / path.name).symlink_to(path.readlink())
        elif path.is_dir():
            (root / path.name).mkdir()
            namespaces.bind(path, root / path.name, read_only=True)
    for name in _DISK:
        (root / name).mkdir(exist_ok=True)
        namespaces.bind(disk / name, root / name, read_only=False)
    namespaces.mount("tmpfs", root / "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=256m")
    _make_devices(root / "dev")
    for source, target in image.binds:
        _show(Path(source), root, target, read_only=True)
    for source, target, read_only in mounts:
        _show(Path(source), root, target, read_only=read_only)
    namespaces.mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    try:
        namespaces.mount("sysfs", root / "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | namespaces.MS_RDONLY)
    except PermissionError:
        pass  # where the host hides part of /sys, machines do without
    (root / "run" / "lock").mkdir(mode=0o1777)
    namespaces.pivot_root(root)


def _show(source: Path, root: Path, target: str, *, read_only: bool) -> None:
    """Mounts a file or folder of the host at a path of the machine, which is made when it isn't there."""
    place = root / target.lstrip("/")
    if not source.exists():
        raise FileNotFoundError(f"{source}, to be mounted at {target}, does not exist on the host")
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    if not place.resolve().is_relative_to(root):
        raise ValueError(f"{target} leads out of the machine's root folder")
    namespaces.bind(source, place, read_only=read_only)


def _make_devices(dev: Path) -> None:
    namespaces.mount("tmpfs", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k")
    for name in _DEVICES:
        (dev / name).touch()
        namespaces.bind(Path("/dev", name), dev / name, read_only=False)
    (dev / "shm").mkdir()
    namespaces.mount("tmpfs", dev / "shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    (dev / "pts").mkdir()
    namespaces.mount("devpts", dev / "pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
    for name, target in links.items():
        (dev / name).symlink_to(target)


def _escape(path: Path) -> str:
    """A path within the options of an overlay."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def write_etc(etc: Path, image: Image, hostname: str, address: str) -> None:
    """/etc of a new machine: the image's files, and what the host's programs need of the host's."""
    for name in (*_ETC, *sorted(path.name for path in Path("/etc").glob("java-*"))):
        copy_readable(Path("/etc", name), etc / name)
    files = {
        "os-release": image.release,
        "system-release": "Alibaba Cloud Linux release 3 (OpenAnolis Edition)\n",
        "passwd": _ACCOUNTS,
        "group": _GROUPS,
        "hostname": f"{hostname}\n",
        "hosts": f"127.0.0.1 localhost localhost.localdomain\n{address} {hostname}\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
        "resolv.conf": "# Names of the cloud's services are resolved by the proxy (HTTP_PROXY).\n",
        "environment": "".join(f"{name}={value}\n" for name, value in image.environment.items()),
        "profile": "set -a\n. /etc/environment\nset +a\numask 022\n",
        "machine-id": os.urandom(16).hex() + "\n",
    }
    for name, content in files.items():
        (etc / name).unlink(missing_ok=True)
        (etc / name).write_text(content)
    for folder in ("systemd/system", "yum.repos.d", "sysconfig", "profile.d"):
        (etc / folder).mkdir(parents=True, exist_ok=True)


def write_certificates(etc: Path, image: Image) -> None:
    """The bundle of trusted certificates, the local cloud's own CA among them, at the image's usual places."""
    bundle = ""
    for path in map(Path, _HOST_CA_BUNDLES):
        if path.is_file():
            bundle = path.read_text()
            break
    authority = Path(image.ca_certificate)
    if image.ca_certificate and authority.is_file():
        bundle += f"\n{authority.read_text()}"
    for name in (CA_BUNDLE.removeprefix("/etc/"), "ssl/certs/ca-certificates.crt", "ssl/cert.pem"):
        target = etc / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_text(bundle)


def copy_readable(source: Path, target: Path) -> None:
    """Copies a file, link or folder, leaving out what this user may not read."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir(exist_ok=True)
        try:
            children = sorted(source.iterdir())
        except PermissionError:
            return
        for child in children:
            copy_readable(child, target / child.name)
    elif source.is_file() and os.access(source, os.R_OK):
        shutil.copyfile(source, target)
        shutil.copymode(source, target)
