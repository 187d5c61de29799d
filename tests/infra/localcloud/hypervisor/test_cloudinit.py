"""User data is parsed strictly and as cloud-init means it."""

import base64
import gzip

import pytest

from infra.localcloud.hypervisor.cloudinit import UserData, UserDataError, WriteFile, parse


def test_nothing_is_nothing() -> None:
    assert parse("") == UserData()
    assert parse("#cloud-config\n") == UserData()


def test_a_script_is_run_as_it_is() -> None:
    assert parse("#!/bin/bash\necho hi\n").script == "#!/bin/bash\necho hi\n"


def test_commands_become_the_script_that_cloud_init_writes() -> None:
    text = "#cloud-config\nruncmd:\n  - echo $HOME && true\n  - [echo, it's, 1]\nbootcmd:\n  - [a b]\n"
    data = parse(text)
    assert data.runcmd == "#!/bin/sh\necho $HOME && true\necho 'it'\"'\"'s' 1\n"
    assert data.bootcmd == "#!/bin/sh\n'a b'\n"


def test_files_are_decoded() -> None:
    packed = base64.b64encode(gzip.compress("größe".encode())).decode()
    data = parse(
        f"""#cloud-config
write_files:
  - {{path: /a, content: "x", permissions: "0600", owner: "a:b", append: true, defer: true}}
  - {{path: /b, content: {packed}, encoding: gz+b64, permissions: 0755}}
  - {{path: /c}}
"""
    )
    assert data.write_files == (
        WriteFile("/a", "x", "a:b", 0o600, append=True, defer=True),
        WriteFile("/b", "größe".encode().decode("latin-1"), permissions=0o755),
        WriteFile("/c"),
    )


def test_accounts() -> None:
    data = parse(
        """#cloud-config
groups: [docker, {admins: [root]}]
users:
  - default
  - {name: app, system: true, groups: "docker, admins", shell: /sbin/nologin, uid: 700}
"""
    )
    assert data.groups == {"docker": (), "admins": ("root",)}
    (user,) = data.users
    assert (user.name, user.system, user.groups, user.uid) == ("app", True, ("docker", "admins"), 700)


def test_packages_with_versions() -> None:
    assert parse("#cloud-config\npackages:\n  - curl\n  - [jq, 1.6]\n").packages == ("curl", "jq-1.6")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "starts with 'hello'"),
        ("#cloud-config\nrun_cmd: []\n", "the key 'run_cmd' is not supported"),
        ("#cloud-config\nwrite_files:\n  - {path: /a, contents: x}\n", r"the key 'contents' of write_files\[0\]"),
        ("#cloud-config\nwrite_files:\n  - {path: a}\n", "must be absolute"),
        ("#cloud-config\nwrite_files:\n  - {path: /a, encoding: rot13}\n", "'rot13' is not one of"),
        ("#cloud-config\nwrite_files:\n  - {path: /a, encoding: b64, content: a}\n", "is not b64"),
        ("#cloud-config\nwrite_files:\n  - {path: /a, permissions: rwx}\n", "octal digits"),
        ("#cloud-config\nruncmd: ls\n", "runcmd must be a list"),
        ("#cloud-config\nruncmd:\n  - {a: b}\n", r"runcmd\[0\] must be a string or a list"),
        ("#cloud-config\nusers:\n  - {name: a, passwd: x}\n", r"the key 'passwd' of users\[0\]"),
        ("#cloud-config\nusers:\n  - {name: a, lock_passwd: false}\n", "has no log-in"),
        ("#cloud-config\npackage_update: maybe\n", "must be true or false"),
        ("#cloud-config\na: [\n", "not valid YAML"),
        ("#cloud-config\n- a\n", "a mapping of keys is expected"),
        ("Content-Type: multipart/mixed; boundary=x\n", "supported are '#cloud-config' and a script"),
    ],
)
def test_what_isnt_supported_is_named(text: str, message: str) -> None:
    with pytest.raises(UserDataError, match=message):
        parse(text)
