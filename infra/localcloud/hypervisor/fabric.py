"""The network between machines, and from the host to them: each machine's monitor offers what its rules allow.

For every port that something in the machine listens on and an ingress rule covers, the monitor listens on the
machine's address: in the host's namespace, and at the edge of each machine that is among the rule's sources. What it
accepts it relays into the machine. Everything else is refused, since nobody listens there.

The rules are a file that the local cloud writes. Monitors find each other through ``fabric.sock`` in the machines'
folders, where a peer asks for a listening socket at this machine's edge and gets its descriptor; when the peer ends,
the socket ends with it.
"""

# ruff: noqa: ASYNC240 - a monitor reads a few small files of its own host, several times a second.

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from infra.localcloud.hypervisor.edge import HOST_ADDRESS, Edge
from infra.localcloud.hypervisor.machine import Ingress
from infra.localcloud.hypervisor.relay import Relay

RULES_FILE = "ingress.json"
SOCKET = "fabric.sock"
HOST = ""
"""The place that isn't a machine."""

_POLL_SECONDS = 0.25
_MACHINE_LOOPBACK = IPv4Network("127.0.0.0/16")  # stays within a machine, see `netlink.configure_machine`
_LISTEN = "0A"


@contextlib.contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """An address of the socket at `path` that fits, however deep the folder lies (at most 107 bytes are allowed)."""
    if len(os.fsencode(path)) < 108:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@dataclass(frozen=True)
class Rules:
    """Ingress rules with their sources parsed."""

    rules: tuple[tuple[Ingress, tuple[IPv4Network, ...]], ...] = ()

    @classmethod
    def parse(cls, rules: Iterable[Ingress]) -> Rules:
        """Parses the sources.

        Raises:
            ValueError: one is neither an IPv4 address nor a block.
        """
        return cls(tuple((rule, tuple(IPv4Network(source) for source in rule.sources)) for rule in rules))

    def of(self, address: str) -> Rules:
        """The rules of one machine."""
        return Rules(tuple(pair for pair in self.rules if pair[0].address == address))

    def allow(self, source: str, port: int) -> bool:
        """Whether a rule lets `source` reach the port."""
        number = IPv4Address(source)
        return any(
            rule.first_port <= port <= rule.last_port and any(number in network for network in networks)
            for rule, networks in self.rules
        )

    def cover(self, port: int) -> bool:
        """Whether a rule is about the port at all."""
        return any(rule.first_port <= port <= rule.last_port for rule, _ in self.rules)


def load_rules(path: Path) -> Rules:
    """Reads the file that the local cloud writes; none means that nothing is allowed."""
    try:
        documents = json.loads(path.read_text())
    except FileNotFoundError:
        return Rules()
    return Rules.parse(Ingress(**document) for document in documents)


def listening_ports(tables: Sequence[str], address: str) -> set[int]:
    """Ports that accept connections to `address`, from the text of /proc/net/tcp and tcp6."""
    wanted = {IPv4Address(address), IPv4Address("0.0.0.0")}  # noqa: S104 - an address that is looked for
    ports: set[int] = set()
    for table in tables:
        for line in table.splitlines()[1:]:
            fields = line.split()
            if len(fields) < 4 or fields[3] != _LISTEN:
                continue
            host, _, port = fields[1].partition(":")
            words = [bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, len(host), 8)]
            raw = b"".join(words)
            mapped = len(raw) == 16 and raw[:12] == b"\0" * 10 + b"\xff\xff"
            if (len(raw) == 16 and raw == b"\0" * 16) or (
                (len(raw) == 4 or mapped) and IPv4Address(raw[-4:]) in wanted
            ):
                ports.add(int(port, 16))
    return ports


def desired(rules: Rules, ports: Iterable[int], peers: Mapping[str, str]) -> set[tuple[str, int]]:
    """Where to listen: (place, port), a place being `HOST` or the id of a peer.

    Args:
        rules: this machine's.
        ports: what is listened on in this machine.
        peers: addresses of the other machines that run, by id.
    """
    places: set[tuple[str, int]] = set()
    for port in ports:
        if rules.cover(port):
            places.add((HOST, port))
            places |= {(peer, port) for peer, address in peers.items() if rules.allow(address, port)}
    return places


class Fabric:
    """One machine's part, run by its monitor."""

    def __init__(self, machine: Path, address: str, edge: Edge, init_pid: int, log: Callable[[str], None]) -> None:
        self._machine = machine
        self._address = address
        self._edge = edge
        self._init_pid = init_pid
        self._log = log
        self._rules_path = machine.parent.parent / RULES_FILE
        self._rules = Rules()
        self._rules_version: tuple[int, int] | None = None
        self._machines: dict[str, str] = {}  # addresses of all other machines by id, running or not
        self._peers: dict[str, _Peer] = {}
        self._relays: dict[tuple[str, int], Relay] = {}
        self._told: set[str] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serves peers and keeps the listeners as the rules and the machine's own listeners want them."""
        path = self._machine / SOCKET
        path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with unix_address(path) as address:
            server.bind(address)
        path.chmod(0o600)
        server.listen(64)
        serving = asyncio.create_task(self._serve(server))
        try:
            while True:
                self._read_rules()
                await self._find_peers()
                await self._adjust()
                await asyncio.sleep(_POLL_SECONDS)
        finally:
            serving.cancel()
            server.close()

    # --- what is wanted

    def _read_rules(self) -> None:
        try:
            stat = self._rules_path.stat()
            version = (stat.st_mtime_ns, stat.st_ino)
        except FileNotFoundError:
            version = (0, 0)
        if version != self._rules_version:
            self._rules_version = version
            try:
                self._rules = load_rules(self._rules_path).of(self._address)
            except (ValueError, TypeError) as error:
                self._rules = Rules()
                self._say(f"{self._rules_path}: {error}; nothing is reachable until it is right")

    async def _find_peers(self) -> None:
        present = {path.name for path in self._machine.parent.iterdir()} - {self._machine.name}
        for name in present - self._machines.keys():
            with contextlib.suppress(OSError, ValueError):  # being created or deleted
                description = json.loads((self._machine.parent / name / "machine.json").read_text())
                self._machines[name] = description["spec"]["address"]
        for name in self._machines.keys() - present:
            del self._machines[name]
        for name in [name for name, peer in self._peers.items() if peer.ended()]:
            self._peers.pop(name).close()
            for place in [place for place in self._relays if place[0] == name]:
                self._relays.pop(place).close()
        for name in self._machines.keys() - self._peers.keys():
            with contextlib.suppress(OSError):  # doesn't run
                self._peers[name] = await _Peer.connect(self._machine.parent / name / SOCKET)

    async def _adjust(self) -> None:
        tables = []
        for name in ("tcp", "tcp6"):
            with contextlib.suppress(OSError):  # the machine ends; or a host without IPv6
                tables.append(Path(f"/proc/{self._init_pid}/net/{name}").read_text())
        peers = {name: self._machines[name] for name in self._peers if name in self._machines}
        wanted = desired(self._rules, listening_ports(tables, self._address), peers)
        for place in self._relays.keys() - wanted:
            self._relays.pop(place).close()
        for place in sorted(wanted - self._relays.keys()):
            try:
                self._relays[place] = await self._open(*place)
            except OSError as error:
                where = place[0] or "the host"
                self._say(f"port {place[1]} can't be offered to {where}: {error.strerror or error}")

    async def _open(self, place: str, port: int) -> Relay:
        if place == HOST:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self._address, port))
                listener.listen(512)
            except OSError:
                listener.close()
                raise
        else:
            listener = await self._peers[place].listener(self._address, port)

        async def connect(client: tuple[str, int]) -> socket.socket:
            source = client[0] if place == HOST else self._machines.get(place, "")
            # A machine's traffic never comes from the host's side: there its address would be a forged one.
            forged = place == HOST and source in self._machines.values()
            if not source or forged or not self._rules.allow(source, port):
                raise PermissionError(f"{source} may not reach {self._address}:{port}")
            local = IPv4Address(source) in _MACHINE_LOOPBACK or source == self._address
            return await self._edge.connect(HOST_ADDRESS if local else source, port)

        relay = Relay(listener, connect)
        await relay.open()
        return relay

    def _say(self, message: str) -> None:
        """Logs a message once."""
        if message not in self._told:
            self._told.add(message)
            self._log(message)

    # --- what peers ask for

    async def _serve(self, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(server)
            task = asyncio.create_task(self._serve_peer(connection))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve_peer(self, connection: socket.socket) -> None:
        """Makes listening sockets at this machine's edge for a peer, as long as it lives."""
        loop = asyncio.get_running_loop()
        with connection:
            while request := await loop.sock_recv(connection, 256):
                address, _, port = request.decode().strip().partition(" ")
                try:
                    listener = await self._edge.listener(address, int(port))
                except OSError as error:
                    await loop.sock_sendall(connection, f"{error.strerror}\n".encode())
                    continue
                with listener:
                    socket.send_fds(connection, [b"\n"], [listener.fileno()])


class _Peer:
    """A connection to the monitor of another machine."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, path: Path) -> _Peer:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with unix_address(path) as address:
                connection.connect(address)
        except OSError:
            connection.close()
            raise
        return cls(connection)

    def ended(self) -> bool:
        """Whether the peer closed the connection: it has ended."""
        try:
            return self._connection.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self._connection.close()

    async def listener(self, address: str, port: int) -> socket.socket:
        """A socket at the peer's edge that listens on `address` and `port`.

        Raises:
            OSError: the peer can't make one, or has ended.
        """
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._connection, f"{address} {port}\n".encode())
        readable: asyncio.Future[None] = loop.create_future()

        def ready() -> None:
            if not readable.done():
                readable.set_result(None)

        loop.add_reader(self._connection, ready)
        try:
            await asyncio.wait_for(readable, 5)
        except TimeoutError as error:
            raise OSError("the other machine's monitor does not answer") from error
        finally:
            loop.remove_reader(self._connection)
        answer, descriptors, _, _ = socket.recv_fds(self._connection, 256, 1)
        if not descriptors:
            raise OSError(answer.decode().strip() or "the other machine has ended")
        made = socket.socket(fileno=descriptors[0])
        made.setblocking(False)
        return made
