"""Machines that really run: booted from user data, supervised, connected, stopped, deleted."""

import hashlib
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.localcloud.hypervisor.hypervisor import NamespaceHypervisor
from infra.localcloud.hypervisor.machine import Ingress, MachineSpec, MachineStatus, Mount

pytestmark = pytest.mark.namespaces

Booted = Callable[[str], MachineStatus]
Wait = Callable[[Callable[[], object], str], None]

PYTHON = "/opt/ragrec/venv/bin/python"
TREE = Path(__file__).parents[4]
SERVER = """\
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/big/"):
            body = os.urandom(1 << 20) * int(self.path[5:])
        else:
            body = f"{os.getuid()} {self.client_address[0]} {os.environ.get('GREETING')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
print("serving", flush=True)
http.server.ThreadingHTTPServer((sys.argv[1], 8080), Handler).serve_forever()
"""
WEB = f"""\
#cloud-config
hostname: web
groups: [app]
users:
  - {{name: app, primary_group: app, system: true, no_create_home: true, homedir: /var/lib/app}}
packages: [java-17-openjdk-headless, python3.11]
write_files:
  - path: /opt/app/server.py
    content: |
      {SERVER.replace(chr(10), chr(10) + "      ")}
  - path: /etc/app.env
    content: GREETING=hello
    owner: app:app
    defer: true
  - path: /etc/systemd/system/web.service
    content: |
      [Unit]
      Description=A web server
      After=network-online.target
      [Service]
      User=app
      EnvironmentFile=/etc/app.env
      StateDirectory=app
      WorkingDirectory=/var/lib/app
      ExecStart={PYTHON} -S /opt/app/server.py 0.0.0.0
      Restart=always
      RestartSec=0.2
      [Install]
      WantedBy=multi-user.target
runcmd:
  - echo first >> /var/lib/boots
  - chown -R app:app /var/lib/app || mkdir -p /var/lib/app
  - [systemctl, daemon-reload]
  - [systemctl, enable, --now, web]
"""


def instance(name: str, address: str, user_data: str) -> MachineSpec:
    return MachineSpec(f"i-{name}", "instance", name, address, user_data)


def pod(command: str, **rest: object) -> MachineSpec:
    return MachineSpec("pod-1", "pod", "pod", "127.80.9.1", command=command, **rest)  # type: ignore[arg-type] # mixed


def get(url: str, source: str = "") -> str:
    """The body of a plain GET, from `source` when given."""
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    connection = socket.create_connection((host, int(port)), 5, (source, 0) if source else None)
    with connection, connection.makefile("rb") as answer:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return bytes(answer.read()).decode().partition("\r\n\r\n")[2]


def reachable(url: str, source: str = "") -> bool:
    try:
        return get(url, source) != ""
    except OSError:
        return False


def processes_of(machine: Path) -> list[int]:
    """Ids of the host's processes whose command line names the machine's folder: its monitor and init."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(machine) in path.read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def children_named(pids: list[int], word: str) -> list[int]:
    """Descendants of the processes whose command line holds the word."""
    parents, commands = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(path.name)] = (path / "cmdline").read_text()
        except OSError:
            continue
    family = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return [pid for pid in family if word in commands.get(pid, "")]


def test_boots_user_data_and_runs_its_units(
    hypervisor: NamespaceHypervisor, booted: Booted, wait: Wait, tmp_path: Path
) -> None:
    hypervisor.start(instance("web", "127.80.9.5", WEB))
    assert booted("i-web") == MachineStatus("running", boot="done")
    hypervisor.set_ingress([Ingress("127.80.9.5", 8000, 9000, ["127.0.0.1/32"])])
    wait(lambda: reachable("http://127.80.9.5:8080/"), "the unit answers")
    uid, peer, greeting = get("http://127.80.9.5:8080/").split()
    assert (uid, peer, greeting) == ("999", "100.100.100.202", "hello")
    console = hypervisor.console("i-web")
    assert "Package java-17-openjdk-headless is already installed." in console
    assert "Started web.service - A web server." in console
    assert str(TREE) not in console

    # The process is killed from outside, and comes back.
    (victim,) = children_named(processes_of(tmp_path / "cloud/machines/i-web"), "/opt/app/server.py")
    os.kill(victim, signal.SIGKILL)
    wait(lambda: "code=killed, status=9/KILL" in hypervisor.console("i-web"), "the death is noticed")
    wait(lambda: reachable("http://127.80.9.5:8080/"), "the unit answers again")
    assert "restart counter is at 1" in hypervisor.console("i-web")


def test_life_cycle(hypervisor: NamespaceHypervisor, booted: Booted, wait: Wait, tmp_path: Path) -> None:
    folder = tmp_path / "cloud/machines/i-web"
    spec = instance("web", "127.80.9.5", WEB)
    hypervisor.set_ingress([Ingress("127.80.9.5", 8080, 8080, ["127.0.0.1"])])
    hypervisor.start(spec)
    hypervisor.start(spec)
    assert booted("i-web").boot == "done"
    assert hypervisor.machines() == ["i-web"]
    wait(lambda: reachable("http://127.80.9.5:8080/"), "the unit answers")

    hypervisor.stop("i-web")
    assert hypervisor.status("i-web").state == "stopped"
    assert not reachable("http://127.80.9.5:8080/")
    assert processes_of(folder) == []
    assert "Stopped web.service" in hypervisor.console("i-web")
    hypervisor.stop("i-web")

    # A second boot starts the enabled unit and doesn't run user data again.
    hypervisor.start(spec)
    assert booted("i-web").boot == "done"
    wait(lambda: reachable("http://127.80.9.5:8080/"), "the unit answers after the second boot")
    assert (folder / "disk/var/lib/boots").read_text() == "first\n"

    hypervisor.stop("i-web", force=True)
    assert hypervisor.status("i-web").state == "stopped"
    hypervisor.start(spec)
    hypervisor.delete("i-web")
    hypervisor.delete("i-web")
    assert processes_of(folder) == []
    assert not folder.exists()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert hypervisor.machines() == []
    with pytest.raises(KeyError):
        hypervisor.status("i-web")


def test_machines_outlive_the_hypervisor_object(
    hypervisor: NamespaceHypervisor, booted: Booted, wait: Wait, tmp_path: Path
) -> None:
    hypervisor.start(instance("web", "127.80.9.5", WEB))
    booted("i-web")
    hypervisor.set_ingress([Ingress("127.80.9.5", 8080, 8080, ["127.0.0.1"])])
    wait(lambda: reachable("http://127.80.9.5:8080/"), "the unit answers")
    again = NamespaceHypervisor(tmp_path / "cloud")
    assert again.status("i-web") == MachineStatus("running", boot="done")
    assert reachable("http://127.80.9.5:8080/")
    again.set_ingress([])
    wait(lambda: not reachable("http://127.80.9.5:8080/"), "the port is closed")
    again.stop("i-web")
    assert hypervisor.status("i-web").state == "stopped"


def test_a_machine_whose_monitor_is_killed_is_stopped(
    hypervisor: NamespaceHypervisor, booted: Booted, wait: Wait, tmp_path: Path
) -> None:
    folder = tmp_path / "cloud/machines/i-web"
    spec = instance("web", "127.80.9.5", WEB)
    hypervisor.start(spec)
    booted("i-web")
    os.kill(min(processes_of(folder)), signal.SIGKILL)
    wait(lambda: hypervisor.status("i-web").state == "stopped", "the state is stopped")
    wait(lambda: processes_of(folder) == [], "init ends with the monitor")
    assert hypervisor.status("i-web").detail == "ended with the host or its monitor"
    hypervisor.start(spec)
    assert booted("i-web").boot == "done"


@pytest.mark.parametrize(
    ("user_data", "detail"),
    [
        ("#cloud-config\nrun_cmd: [ls]\n", "user data: the key 'run_cmd' is not supported"),
        ("#cloud-config\nruncmd: ['false']\n", "scripts_user: .*/runcmd ended with 1"),
        ("#cloud-config\npackages: [nginx]\n", "package_update_upgrade_install: dnf -y install nginx ended with 1"),
        ("#cloud-config\nwrite_files: [{path: /a, owner: nobody-knows}]\n", "write_files: .*unknown owner"),
        ("#!/bin/bash\nexit 3\n", "scripts_user: .*/part-001 ended with 3"),
    ],
)
def test_user_data_that_fails_says_why(
    hypervisor: NamespaceHypervisor, booted: Booted, user_data: str, detail: str
) -> None:
    hypervisor.start(instance("bad", "127.80.9.6", user_data))
    status = booted("i-bad")
    assert (status.state, status.boot) == ("running", "failed")
    assert re.match(detail, status.detail)
    assert status.detail in hypervisor.console("i-bad")


UNITS = """\
#cloud-config
write_files:
  - path: /etc/systemd/system/base.service
    content: |
      [Service]
      Type=notify
      ExecStart=/opt/ragrec/venv/bin/python -S /root/notify.py
  - path: /root/notify.py
    content: |
      import os, socket, time
      time.sleep(0.4)
      notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
      notify.connect(os.environ["NOTIFY_SOCKET"])
      notify.send(b"READY=1")
      time.sleep(999)
  - path: /etc/systemd/system/setup.service
    content: |
      [Unit]
      Requires=base.service
      After=base.service
      [Service]
      Type=oneshot
      RemainAfterExit=yes
      ExecStart=/bin/sh -c 'echo one ${WHO}'
      ExecStart=/bin/echo two
      Environment=WHO=me
      [Install]
      WantedBy=multi-user.target
  - path: /etc/systemd/system/stubborn.service
    content: |
      [Unit]
      After=setup.service
      [Service]
      ExecStart=/bin/bash -c 'trap "" TERM; echo stubborn; while true; do sleep .1; done'
      TimeoutStopSec=500ms
  - path: /etc/systemd/system/crash.service
    content: |
      [Unit]
      StartLimitBurst=3
      [Service]
      ExecStart=/bin/sh -c 'exit 7'
      Restart=on-failure
      RestartSec=20ms
  - path: /etc/systemd/system/daemon.service
    content: |
      [Service]
      Type=forking
      PIDFile=/run/daemon.pid
      ExecStart=/bin/sh -c 'setsid sleep 998 & echo $! > /run/daemon.pid'
  - path: /etc/systemd/system/missing.service
    content: |
      [Service]
      ExecStart=/opt/nothing
      Nonsense=1
  - path: /root/check
    permissions: "0755"
    content: |
      #!/bin/bash
      set -x
      systemctl enable --now setup && systemctl is-active setup base
      systemctl start stubborn; systemctl stop stubborn; systemctl is-active stubborn
      systemctl start crash; sleep .6; systemctl is-failed crash; systemctl show -p Result --value crash
      systemctl start daemon; systemctl show -p MainPID --value daemon; cat /run/daemon.pid
      kill -9 $(cat /run/daemon.pid); sleep .3; systemctl is-active daemon
      systemctl start missing; echo "missing: $?"
      systemctl start nowhere; echo "nowhere: $?"
      systemctl restart base; systemctl is-active base
      systemctl is-enabled setup daemon
      journalctl -u setup -o cat | grep -E '^(one|two)'
      cloud-init status
runcmd: [/root/check]
"""


def test_units_behave_as_under_systemd(hypervisor: NamespaceHypervisor, booted: Booted) -> None:
    hypervisor.start(instance("units", "127.80.9.7", UNITS))
    assert booted("i-units").boot == "done", hypervisor.console("i-units")
    lines = [line.partition("] ")[2] for line in hypervisor.console("i-units").splitlines()]
    said = [line.partition(": ")[2] for line in lines if line.startswith("cloud-init[")]
    after = {line: said[index + 1 :] for index, line in enumerate(said) if line.startswith("+ ")}

    assert after["+ systemctl is-active setup base"][:2] == ["active", "active"]
    started = lines.index("systemd[1]: Started base.service.")
    assert started < lines.index("systemd[1]: Starting setup.service...")
    assert after["+ systemctl is-active stubborn"][0] == "inactive"
    assert "systemd[1]: stubborn.service: State 'stop-sigterm' timed out. Killing." in lines
    assert after["+ systemctl is-failed crash"][0] == "failed"
    assert after["+ systemctl show -p Result --value crash"][0] == "start-limit-hit"
    assert lines.count("systemd[1]: Starting crash.service...") == 3
    pids = after["+ systemctl show -p MainPID --value daemon"]
    assert pids[0] == pids[2]
    assert after["+ systemctl is-active daemon"][0] == "failed"
    assert "missing: 1" in said
    assert "systemd[1]: missing.service: Service.Nonsense is not supported and has no effect" in lines
    assert "nowhere: 5" in said
    assert after["+ systemctl is-active base"][0] == "active"
    assert after["+ systemctl is-enabled setup daemon"][:2] == ["enabled", "static"]
    assert {"one me", "two"} <= set(said)
    assert "status: running" in said


def test_reboot_from_inside(hypervisor: NamespaceHypervisor, booted: Booted, wait: Wait, tmp_path: Path) -> None:
    text = "#cloud-config\nbootcmd:\n  - [sh, -c, echo up >> /var/boots]\nruncmd: [reboot]\n"
    hypervisor.start(instance("again", "127.80.9.8", text))
    boots = tmp_path / "cloud/machines/i-again/disk/var/boots"
    wait(lambda: boots.exists() and boots.read_text() == "up\nup\n", "the machine boots twice")
    assert booted("i-again") == MachineStatus("running", boot="done")


def test_power_off_from_inside(hypervisor: NamespaceHypervisor, wait: Wait) -> None:
    hypervisor.start(instance("off", "127.80.9.8", "#!/bin/sh\npoweroff\n"))
    wait(lambda: hypervisor.status("i-off").state == "stopped", "the machine powers off")


CLIENT = """\
#!/bin/bash
ask() { curl -s -m 3 "$@"; echo "$* -> $?"; }
for try in $(seq 100); do curl -s -m 1 http://127.80.9.5:8080/ > /dev/null && break; sleep .1; done
ask http://127.80.9.5:8080/
ask http://127.80.9.6:8080/
ask http://127.80.9.5:22/
ask http://127.80.9.99:8080/
ask http://8.8.8.8:53/
"""


def test_only_allowed_sources_reach_a_machine(hypervisor: NamespaceHypervisor, booted: Booted, wait: Wait) -> None:
    """Two servers listen on 0.0.0.0:8080, a machine that may reach one of them asks both."""
    hypervisor.set_ingress(
        [
            Ingress("127.80.9.5", 1, 65535, ["127.80.9.7"]),
            Ingress("127.80.9.5", 8080, 8080, ["127.0.0.0/30", "127.80.9.0/24"]),
            Ingress("127.80.9.6", 8080, 8080, ["127.0.0.1"]),
        ]
    )
    hypervisor.start(instance("one", "127.80.9.5", WEB))
    hypervisor.start(instance("two", "127.80.9.6", WEB))
    booted("i-one")
    booted("i-two")
    wait(lambda: reachable("http://127.80.9.5:8080/"), "the first server answers the host")
    wait(lambda: reachable("http://127.80.9.6:8080/"), "the second server answers the host")
    assert reachable("http://127.80.9.5:8080/", "127.0.0.2")
    assert not reachable("http://127.80.9.5:8080/", "127.0.0.9")
    assert not reachable("http://127.80.9.5:8080/", "127.80.9.6"), "a machine's address can't be forged on the host"

    hypervisor.start(instance("client", "127.80.9.7", CLIENT))
    assert booted("i-client").boot == "done"
    console = hypervisor.console("i-client")
    assert re.search(r"999 127\.80\.9\.7 hello", console), console
    assert "http://127.80.9.5:8080/ -> 0" in console
    assert "http://127.80.9.6:8080/ -> 7" in console
    assert "http://127.80.9.5:22/ -> 7" in console
    assert "http://127.80.9.99:8080/ -> 7" in console
    assert re.search(r"http://8\.8\.8\.8:53/ -> (7|5\d)", console)


def test_large_answers_and_many_requests_pass(hypervisor: NamespaceHypervisor, booted: Booted, wait: Wait) -> None:
    hypervisor.start(instance("web", "127.80.9.5", WEB))
    hypervisor.set_ingress([Ingress("127.80.9.5", 8080, 8080, ["127.0.0.1"])])
    booted("i-web")
    wait(lambda: reachable("http://127.80.9.5:8080/"), "the unit answers")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open("http://127.80.9.5:8080/big/100", timeout=60) as answer:
        size, first, block = 0, b"", 1 << 20
        while piece := answer.read(block):
            digest = hashlib.sha256(piece).digest()
            first = first or digest
            assert digest == first
            size += len(piece)
    assert size == 100 * block
    started = time.monotonic()
    for _ in range(100):
        assert get("http://127.80.9.5:8080/")
    assert time.monotonic() - started < 10


@contextmanager
def unix_server(path: Path, seen: list[bytes]) -> Iterator[None]:
    """Answers each connection with what it sent first, and notes that."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    received = b""
                    while b"\r\n\r\n" not in received and (piece := connection.recv(65536)):
                        received += piece
                    seen.append(received)
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nfrom-the-cloud\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


ASK_CLOUD = """\
#!/bin/bash
curl -s http://100.100.100.200/latest/meta-data/instance-id
. /etc/environment
curl -s --proxy "$HTTP_PROXY" http://ecs.aliyuncs.com/
curl -s http://oss-cn-hangzhou.aliyuncs.com/
grep -c TEST-AUTHORITY /etc/pki/tls/certs/ca-bundle.crt
"""


def test_metadata_and_proxy_lead_to_the_cloud(
    hypervisor: NamespaceHypervisor, booted: Booted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = tmp_path / "cloud"
    (cloud / "ca.pem").write_text("TEST-AUTHORITY\n")
    metadata: list[bytes] = []
    proxied: list[bytes] = []
    monkeypatch.chdir(cloud)  # the folder's own path may be too long for a socket's address
    with unix_server(Path("metadata.sock"), metadata), unix_server(Path("cloud.sock"), proxied):
        hypervisor.start(instance("asks", "127.80.9.5", ASK_CLOUD))
        assert booted("i-asks").boot == "done", hypervisor.console("i-asks")
    assert hypervisor.console("i-asks").count("from-the-cloud") == 3
    assert metadata[0].startswith(b"i-asks\nGET /latest/meta-data/instance-id HTTP/1.1\r\n")
    assert proxied[0].startswith(b"GET http://ecs.aliyuncs.com/ HTTP/1.1\r\n")
    assert proxied[1].startswith(b"GET http://oss-cn-hangzhou.aliyuncs.com/ HTTP/1.1\r\n")


def test_a_pod_runs_one_command(hypervisor: NamespaceHypervisor, wait: Wait, tmp_path: Path) -> None:
    data, results = tmp_path / "data", tmp_path / "results"
    data.mkdir()
    results.mkdir()
    (data / "in.txt").write_text("input")
    command = (
        "cp /mnt/data/in.txt /mnt/results/out.txt; touch /mnt/data/no; echo $RANK $HOSTNAME;"
        " python -c 'import yaml; print(yaml.__name__)'; exit 5"
    )
    spec = pod(
        command,
        environment={"RANK": "0"},
        mounts=[Mount(data, "/mnt/data"), Mount(results, "/mnt/results", read_only=False)],
    )
    hypervisor.start(spec)
    wait(lambda: hypervisor.status("pod-1").state == "exited", "the pod ends")
    assert hypervisor.status("pod-1") == MachineStatus("exited", 5)
    assert (results / "out.txt").read_text() == "input"
    console = hypervisor.console("pod-1").splitlines()
    assert "0 pod" in console
    assert "yaml" in console
    assert any("Read-only file system" in line for line in console)
    assert not (data / "no").exists()
    hypervisor.delete("pod-1")
    assert (data / "in.txt").exists()


def test_a_pod_gets_the_signal_of_a_stop(hypervisor: NamespaceHypervisor, wait: Wait) -> None:
    hypervisor.start(pod("trap 'echo caught; exit 0' TERM; echo ready; while true; do sleep .05; done"))
    wait(lambda: "ready" in hypervisor.console("pod-1"), "the pod runs")
    hypervisor.stop("pod-1")
    assert hypervisor.status("pod-1").state == "stopped"
    assert "caught" in hypervisor.console("pod-1")


def test_a_mount_that_is_missing_fails_the_start(hypervisor: NamespaceHypervisor, wait: Wait, tmp_path: Path) -> None:
    hypervisor.start(pod("true", mounts=[Mount(tmp_path / "gone", "/mnt/gone")]))
    wait(lambda: hypervisor.status("pod-1").state == "failed", "the pod fails")
    assert re.search("gone, to be mounted at /mnt/gone, does not exist", hypervisor.status("pod-1").detail)


def test_a_machine_sees_only_itself(hypervisor: NamespaceHypervisor, booted: Booted, tmp_path: Path) -> None:
    script = (
        "#!/bin/bash\nls /proc | grep -c '^[0-9]'; ls -A /home /root; cat /etc/os-release; env | sort; mount\n"
        f"{PYTHON} -c 'import sys; print(sys.path)'; java -version; touch /usr/bin/x; id; hostname; df /tmp\n"
        "echo $$ > /proc/1/root/tmp/pid; "
        f"ls {TREE} /old_root 2>&1; true\n"
    )
    hypervisor.start(instance("alone", "127.80.9.5", script))
    assert booted("i-alone").boot == "done"
    console = hypervisor.console("i-alone")
    assert 'ID="alinux"' in console
    assert "touch: cannot touch '/usr/bin/x': Read-only file system" in console
    assert f"cannot access '{TREE}'" in console
    description = json.loads((tmp_path / "cloud/machines/i-alone/machine.json").read_text())
    assert description["spec"]["hostname"] == "alone"
