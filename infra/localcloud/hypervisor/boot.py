"""Carries out user data inside the machine, in the order of cloud-init's stages.

init: bootcmd (every boot), write_files, hostname, groups and users; config: timezone, runcmd is written to a script;
final: packages, deferred files, the script, final_message. All but bootcmd happen once in an instance's life. As with
cloud-init a module that fails doesn't keep the next ones from running, and the boot counts as failed.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from infra.localcloud.hypervisor import guest, namespaces, processes
from infra.localcloud.hypervisor.journal import Journal
from infra.localcloud.hypervisor.processes import Processes, Setting, SpawnError

_STATE = Path("/var/lib/cloud")


class BootError(RuntimeError):
    """A module of the boot failed; the text names it."""


class Boot:
    """One boot of an instance."""

    def __init__(
        self,
        instance_id: str,
        user_data: Mapping[str, Any],
        journal: Journal,
        machine_processes: Processes,
        environment: Mapping[str, str],
    ) -> None:
        self.errors: list[str] = []
        self._id = instance_id
        self._data = user_data  # `UserData.document`, or {"error": why it can't be carried out}
        self._journal = journal
        self._processes = machine_processes
        self._environment = {**environment, "HOME": "/root", "INSTANCE_ID": instance_id}
        self._semaphores = _STATE / "instances" / instance_id / "sem"
        self._started = time.monotonic()

    async def before_units(self) -> None:
        """The stages that come before the units of multi-user.target."""
        self._report("running")
        if error := self._data.get("error"):
            self._fail(str(error))
            return
        data = self._data
        if data["bootcmd"]:
            await self._module("bootcmd", lambda: self._script("bootcmd", data["bootcmd"]))
        await self._once("write_files", lambda: self._write_files(deferred=False))
        await self._once("set_hostname", self._hostname)
        await self._once("users_groups", self._accounts)
        await self._once("timezone", self._timezone)

    async def after_units(self) -> None:
        """The final stage; `errors` holds afterwards what went wrong."""
        data = self._data
        if "error" not in data:
            await self._once("package_update_upgrade_install", self._packages)
            await self._once("write_files_deferred", lambda: self._write_files(deferred=True))
            if script := data["runcmd"] or data["script"]:
                name = "runcmd" if data["runcmd"] else "part-001"
                await self._once("scripts_user", lambda: self._script(name, script))
            message = data["final_message"] or "Cloud-init finished. Datasource DataSourceAliYun. Up $UPTIME seconds"
            self._say(message.replace("$UPTIME", f"{time.monotonic() - self._started:.2f}"))
        self._report("error" if self.errors else "done")

    # --- modules

    async def _module(self, name: str, run: Callable[[], Awaitable[None] | None]) -> None:
        try:
            if (working := run()) is not None:
                await working
        except (BootError, SpawnError, OSError, ValueError) as error:
            self._fail(f"{name}: {error}")

    async def _once(self, name: str, run: Callable[[], Awaitable[None] | None]) -> None:
        """Runs the module unless an earlier boot of this instance did, whatever came of it."""
        semaphore = self._semaphores / f"config_{name}"
        if semaphore.exists():
            return
        semaphore.parent.mkdir(parents=True, exist_ok=True)
        semaphore.touch()
        await self._module(name, run)

    def _script(self, name: str, text: str) -> Awaitable[None]:
        path = _STATE / "instances" / self._id / "scripts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o700)
        return self._run([str(path)])

    async def _run(self, command: list[str]) -> None:
        with await processes.line_pipe(self._say) as output:
            process = self._processes.spawn(command, Setting(self._environment), output=output)
        code = await process.exited
        if code:
            raise BootError(f"{' '.join(command)} ended with {code}")

    def _write_files(self, *, deferred: bool) -> None:
        for entry in self._data["write_files"]:
            if entry["defer"] != deferred:
                continue
            path = Path(entry["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if entry["append"] else "wb") as file:
                os.fchmod(file.fileno(), entry["permissions"])
                file.write(entry["content"].encode("latin-1"))
            user, _, group = entry["owner"].partition(":")
            try:
                account = processes.find_account(user or "root", group)
            except SpawnError as error:
                raise BootError(
                    f"{path}: unknown owner {entry['owner']}: {error} (defer: true comes after users)"
                ) from error
            os.chown(path, account.uid, account.gid)

    def _hostname(self) -> None:
        if name := self._data["hostname"]:
            namespaces.set_hostname(name)
            Path("/etc/hostname").write_text(f"{name}\n")
            hosts = Path("/etc/hosts").read_text().rstrip("\n")
            Path("/etc/hosts").write_text(f"{hosts} {name}\n")

    def _accounts(self) -> None:
        for group in self._data["groups"]:
            guest.add_group(group)
        existing = {row[0] for row in guest.read_table(Path("/etc/passwd"))}
        for user in self._data["users"]:
            if user["name"] in existing:
                self._say(f"User {user['name']} already exists, skipping.")
                continue
            self._add_user(user)
        for group, members in self._data["groups"].items():
            for member in members:
                guest.add_to_groups(member, [group])

    def _add_user(self, user: Mapping[str, Any]) -> None:
        for group in user["groups"]:
            guest.add_group(group)
        primary = user["primary_group"] or ("users" if user["no_user_group"] else "")
        if primary:
            guest.add_group(primary)
        uid, gid = guest.add_user(
            user["name"],
            uid=user["uid"],
            group=primary,
            groups=user["groups"],
            comment=user["gecos"],
            home=user["homedir"],
            shell=user["shell"],
            system=user["system"],
            create_home=not user["no_create_home"] and not user["system"],
        )
        home = Path(user["homedir"] or f"/home/{user['name']}")
        if user["ssh_authorized_keys"]:
            folder = home / ".ssh"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            keys = folder / "authorized_keys"
            keys.write_text("".join(f"{key}\n" for key in user["ssh_authorized_keys"]))
            keys.chmod(0o600)
            for path in (folder, keys):
                os.chown(path, uid, gid)
        if user["sudo"]:
            folder = Path("/etc/sudoers.d")
            folder.mkdir(exist_ok=True)
            rules = folder / "90-cloud-init-users"
            with rules.open("a") as file:
                file.writelines(f"{user['name']} {rule}\n" for rule in user["sudo"])
            rules.chmod(0o440)

    def _timezone(self) -> None:
        if name := self._data["timezone"]:
            zone = Path("/usr/share/zoneinfo", name)
            if not zone.is_file():
                raise BootError(f"unknown timezone {name!r}")
            local = Path("/etc/localtime")
            local.unlink(missing_ok=True)
            local.symlink_to(zone)
            Path("/etc/timezone").write_text(f"{name}\n")

    async def _packages(self) -> None:
        if self._data["package_update"]:
            await self._run(["dnf", "makecache"])
        if self._data["package_upgrade"]:
            await self._run(["dnf", "-y", "upgrade"])
        if names := self._data["packages"]:
            await self._run(["dnf", "-y", "install", *names])

    # --- telling

    def _say(self, message: str) -> None:
        self._journal.write("cloud-init.service", message, "cloud-init", 1)

    def _fail(self, message: str) -> None:
        self.errors.append(message)
        self._say(f"ERROR: {message}")

    def _report(self, status: str) -> None:
        path = Path(guest.CLOUD_INIT_RESULT)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".new").write_text(json.dumps({"status": status, "errors": self.errors}))
        path.with_suffix(".new").replace(path)


async def wait_for_exit(process: processes.Process) -> int:
    """The exit code, as a shell gives it: 128 and the number for a signal."""
    code = await asyncio.shield(process.exited)
    return code if code >= 0 else 128 - code
