"""supervisord: keeps the stack's programs running, each with its own log, and is spoken to over a Unix socket."""

import os
import subprocess
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from paddock_local.errors import StackError
from paddock_local.paths import StackPaths

LOG_BYTES = "20MB"
LOG_BACKUPS = 2
START_PATIENCE_S = 20.0
# supervisord waits one second longer after each failed start, so this is many hours.
START_RETRIES = 500
GONE = "supervisord is not running"


def program_section(paths: StackPaths, part: str, stop_patience_s: int) -> str:
    """The part's lines in supervisord.conf. It starts nothing by itself: the order is the stack's."""
    settings = {
        "command": f"{paths.venv_bin / 'python'} -m paddock_local.launch {paths.spec(part)}",
        "directory": str(paths.root),
        "autostart": "false",
        "autorestart": "true",
        "startsecs": "1",
        "startretries": str(START_RETRIES),
        "stopwaitsecs": str(stop_patience_s),
        "redirect_stderr": "true",
        "stdout_logfile": str(paths.log(part)),
        "stdout_logfile_maxbytes": LOG_BYTES,
        "stdout_logfile_backups": str(LOG_BACKUPS),
    }
    return "\n".join([f"[program:{part}]", *(f"{key}={escape(value)}" for key, value in settings.items())])


def escape(value: str) -> str:
    """supervisord expands `%(...)s` in values."""
    return value.replace("%", "%%")


def configuration(paths: StackPaths, parts: dict[str, int]) -> str:
    """supervisord.conf for `parts`: name -> seconds it may take to stop."""
    head = f"""\
[unix_http_server]
file={escape(str(paths.supervisor_socket))}
chmod=0700

[supervisord]
logfile={escape(str(paths.log("supervisord")))}
logfile_maxbytes={LOG_BYTES}
logfile_backups={LOG_BACKUPS}
pidfile={escape(str(paths.folder("run") / "supervisord.pid"))}
childlogdir={escape(str(paths.folder("logs")))}
umask=077
identifier=paddock-{paths.name}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
    return "\n\n".join([head, *(program_section(paths, part, wait) for part, wait in parts.items())]) + "\n"


class Supervisor:
    """The stack's supervisord."""

    def __init__(self, paths: StackPaths) -> None:
        self._paths = paths

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._paths.supervisor_socket}")
        try:
            proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy, f"supervisor.{method}")(*arguments)
        finally:
            transport.close()

    def running(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def start(self, parts: dict[str, int], env: dict[str, str]) -> None:
        """Start supervisord as a daemon, or hand the present one a new configuration.

        Raises StackError when it does not come up.
        """
        (self._paths.folder("run")).mkdir(exist_ok=True)
        file = self._paths.folder("etc") / "supervisord.conf"
        file.write_text(configuration(self._paths, parts), encoding="utf-8")
        if self.running():
            self._reload()
            return
        command = [str(self._paths.venv_bin / "supervisord"), "-c", str(file)]
        done = subprocess.run(command, env=env, cwd=self._paths.root, capture_output=True, text=True, check=False)
        deadline = time.monotonic() + START_PATIENCE_S
        while not self.running():
            if done.returncode != 0 or time.monotonic() > deadline:
                raise StackError(
                    f"supervisord did not start: {done.stderr or done.stdout or self._paths.log('supervisord')}"
                )
            time.sleep(0.1)

    def _reload(self) -> None:
        added, changed, removed = self._call("reloadConfig")[0]
        for part in (*removed, *changed):
            self.stop_part(part)
            self._call("removeProcessGroup", part)
        for part in (*added, *changed):
            self._call("addProcessGroup", part)

    def processes(self) -> dict[str, dict[str, Any]]:
        """State of every part; empty when supervisord is not there."""
        try:
            return {info["name"]: info for info in self._call("getAllProcessInfo")}
        except (OSError, xmlrpc.client.Error):
            return {}

    def start_part(self, part: str) -> None:
        """Start a part unless it runs."""
        try:
            self._call("startProcess", part, False)  # noqa: FBT003 - readiness is asked for, not waited for
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in str(fault.faultString):
                raise StackError(f"{part} could not be started: {fault.faultString}") from fault

    def stop_part(self, part: str) -> None:
        """Stop a part and wait until it is gone."""
        try:
            self._call("stopProcess", part, True)  # noqa: FBT003 - waits until it is gone
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in str(fault.faultString) and "BAD_NAME" not in str(fault.faultString):
                raise StackError(f"{part} could not be stopped: {fault.faultString}") from fault

    def shutdown(self, patience_s: float) -> None:
        """End supervisord and whatever it still keeps."""
        try:
            pid = self._call("getPID")
            self._call("shutdown")
        except (OSError, xmlrpc.client.Error):
            return
        deadline = time.monotonic() + patience_s
        while Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
            if time.monotonic() > deadline:
                raise StackError(f"supervisord (process {pid}) does not end: see {self._paths.log('supervisord')}")
            time.sleep(0.1)


def _is_zombie(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "Z"
        )
    except OSError:
        return True


def environment() -> dict[str, str]:
    """supervisord's own."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(Path.home()), "LANG": "C.UTF-8"}
