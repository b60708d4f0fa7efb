"""A private Slurm cluster on one host, for tests: three nodes, two pretended GPUs on each.

All it needs (configuration, ports, munge key, database) is its own, so it collides neither with a
Slurm of the system nor with a second test cluster. README.md in this folder shows how to use it.
"""

import argparse
import atexit
import contextlib
import json
import os
import pwd
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NODES = ("n1", "n2", "n3")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "sacct", "sacctmgr", "scontrol", "sinfo")
DAEMONS = ("munged", "munge", "unmunge", "slurmctld", "slurmd")
DATABASE = ("slurmdbd", "mariadbd", "mariadb-admin", "mariadb-install-db")
STATE = "test-cluster.json"
MARK = "TEST_CLUSTER_NODE"  # not SLURM_...: Snakemake's jobstep plugin would drop it

# Slurm takes a GPU only from a character device: gpu0 and gpu1 are links to /dev/null. What
# task-prolog prints enters each task's environment; the mark is how a crash finds its victims.
FILES = {
    "slurm.conf": """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={dir}/munge.socket
StateSaveLocation={dir}/state
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/%n.pid
SlurmdSpoolDir={dir}/%n
SlurmdLogFile={dir}/log/%n.steps.log
TaskProlog={dir}/task-prolog
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=10
KillWait=3
GresTypes=gpu
NodeName=DEFAULT CPUs=4 RealMemory=8192 Gres=gpu:h100:2
NodeName=n[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]}-{ports[3]}
PartitionName=DEFAULT Nodes=ALL DefMemPerCPU=1000 PreemptMode=OFF
PartitionName=gpu Default=YES MaxTime=1:00:00 DefaultTime=0:10:00
PartitionName=cpu MaxTime=1:00:00 DefaultTime=0:10:00
PartitionName=short MaxTime=0:01:00 DefaultTime=0:01:00
PartitionName=requeue MaxTime=1:00:00 PreemptMode=REQUEUE
PartitionName=cancel MaxTime=1:00:00 PreemptMode=CANCEL
PartitionName=urgent MaxTime=0:10:00 PriorityTier=10
{accounting}""",
    "slurmdbd.conf": """\
AuthInfo=socket={dir}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={ports[4]}
SlurmUser={user}
PidFile={dir}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageUser={user}
""",
    "gres.conf": "NodeName=n[1-3] Name=gpu Type=h100 File={dir}/gpu[0-1]\n",
    "task-prolog": """\
#!/bin/sh
echo "export SLURM_CONF={dir}/slurm.conf"
echo "export PATH={dir}/bin:$PATH"
echo "export {mark}={dir}/$SLURMD_NODENAME"
""",
    "munge.key": "{key}",
}

ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[4]}
AccountingStoragePass={dir}/munge.socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
"""

# Snakemake's jobstep plugin drops SLURM_CONF before it calls srun.
WRAPPER = """\
#!/bin/sh
export SLURM_CONF={dir}/slurm.conf
exec {program} "$@"
"""

COMMANDS = {
    "munged": "munged --foreground --force --key-file={dir}/munge.key --socket={dir}/munge.socket"
    " --pid-file={dir}/munge.pid --seed-file={dir}/munge.seed",
    "mariadbd": "mariadbd --no-defaults --user={user} --datadir={dir}/db --socket={dir}/db.socket"
    " --pid-file={dir}/db.pid --skip-networking --innodb-buffer-pool-size=64M",
    "slurmdbd": "slurmdbd -D",
    "slurmctld": "slurmctld -D",
    **{node: f"slurmd -D -N {node}" for node in NODES},
}

# A daemon is ready when it answers, not when its process lives.
QUESTIONS = {
    "munged": "munge -n -S {dir}/munge.socket | unmunge -S {dir}/munge.socket",
    "mariadbd": "mariadb-admin --no-defaults --socket={dir}/db.socket ping",
    "slurmdbd": "sacctmgr -n list cluster",
    "slurmctld": "scontrol ping",
    **{node: f"SLURM_TIME_FORMAT=%s scontrol -o show node {node}" for node in NODES},
}

INSTALL_DATABASE = (
    "mariadb-install-db --no-defaults --skip-test-db --user={user} --datadir={dir}/db"
    " --auth-root-authentication-method=socket --auth-root-socket-user={user}"
)
ADD_ACCOUNT = (
    "sacctmgr -i add cluster test",
    "sacctmgr -i add account research",
    "sacctmgr -i add user {user} account=research",
    "sacctmgr -i modify user {user} set defaultaccount=research",
)


class ClusterError(RuntimeError):
    """The test cluster did not do what it should."""


class MissingSlurm(ClusterError):
    """Programs that the test cluster needs are not installed; the message names them."""


class Cluster:
    """The test cluster of one folder, running or not; `start` makes one."""

    def __init__(self, folder: Path | str) -> None:
        """Read what the folder says about a cluster, if anything."""
        self.dir = Path(folder).resolve()
        state = self.dir / STATE
        known = json.loads(state.read_text()) if state.exists() else {}
        self.accounting: bool = known.get("accounting", False)
        self.processes: dict[str, list[int]] = known.get("processes", {})
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def env(self) -> dict[str, str]:
        """The environment in which each Slurm command means this cluster."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        path = f"{self.dir}/bin{os.pathsep}{_system_path()}"
        return env | {"PATH": path, "SLURM_CONF": f"{self.dir}/slurm.conf"}

    def run(self, *command: str, seconds: float = 60) -> str:
        """Run a command in the cluster's environment and return what it prints."""
        settings = {"env": self.env, "text": True, "capture_output": True, "timeout": seconds}
        try:
            return subprocess.run(command, check=True, **settings).stdout
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip() or error.stdout
        except subprocess.TimeoutExpired:
            reason = f"no end after {seconds:g} s"
        raise ClusterError(f"{shlex.join(command)}: {reason}")

    def scontrol(self, *args: str) -> str:
        """Run scontrol and return what it prints."""
        return self.run("scontrol", *args)

    def squeue(self, fmt: str = "%i|%T|%N|%r|%j") -> list[list[str]]:
        """Return jobs of all states: id, state, nodes, reason and name, or what `fmt` asks for."""
        lines = self.run("squeue", "-h", "-t", "all", "-o", fmt).splitlines()
        return [line.split("|") for line in lines]

    def stop_node(self, name: str) -> None:
        """Crash a node: its slurmd and all that jobs started on it die at once."""
        self.kill_slurmd(name)
        _kill_jobs({f"{self.dir}/{name}"})

    def start_node(self, name: str) -> None:
        """Boot a node again; the controller learns first that it was down and its jobs are gone."""
        self.scontrol("update", f"nodename={name}", "state=down", "reason=reboot")
        self.start_daemon(name)

    def kill_slurmd(self, name: str) -> None:
        """Kill only the slurmd of a node; its jobs go on, and `start_daemon` finds them again."""
        self.stop_daemon(name, signal.SIGKILL)

    def restart_controller(self, seconds_down: float = 0) -> None:
        """Stop slurmctld in good order and start it again."""
        self.stop_daemon("slurmctld")
        time.sleep(seconds_down)
        self.start_daemon("slurmctld")

    def alive(self, name: str) -> bool:
        """Tell whether a daemon (slurmctld, slurmdbd, n1, ...) runs."""
        pid, started = self.processes.get(name, (0, 0))
        return bool(started) and _stat(pid)[1] == started

    def stop_daemon(self, name: str, sig: signal.Signals = signal.SIGTERM) -> None:
        """Signal a daemon and wait until it has ended; nothing happens if it does not run."""
        if self.alive(name):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.processes[name][0], sig)
        deadline = time.monotonic() + 30
        while self.alive(name):
            if time.monotonic() > deadline:
                raise ClusterError(f"{name} did not end within 30 s of {sig.name}")
            time.sleep(0.05)
        if name in self._children:
            self._children.pop(name).wait()

    def start_daemon(self, name: str, seconds: float = 30) -> None:
        """Start a daemon in its own session and wait until it answers."""
        if self.alive(name):
            raise ClusterError(f"{name} runs already")
        home = self.dir / (name if name in NODES else "log")
        extra = {MARK: str(home), "MYSQL_UNIX_PORT": f"{self.dir}/db.socket"}
        begun = int(time.time())
        log = self.dir / "log" / f"{name}.log"
        with log.open("ab") as out:
            child = subprocess.Popen(
                self._fill(COMMANDS[name]).split(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=home,
                env=self.env | extra,
                start_new_session=True,
            )
        self._children[name] = child
        self.processes[name] = [child.pid, _stat(child.pid)[1]]
        self._save()
        deadline = time.monotonic() + seconds
        while not self._answers(name, begun):
            problem = f"did not answer within {seconds:g} s" if self.alive(name) else "ended"
            if problem == "ended" or time.monotonic() > deadline:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise ClusterError(f"{name} {problem}; the end of {log}:\n{tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End all processes of the cluster, jobs included; the logs stay. Call it as you like."""
        for name in ("slurmctld", *NODES):
            self.stop_daemon(name, signal.SIGKILL)
        _kill_jobs({f"{self.dir}/{node}" for node in NODES})
        for name in ("slurmdbd", "mariadbd", "munged"):
            self.stop_daemon(name, signal.SIGKILL)
        shutil.rmtree(self.dir / "db", ignore_errors=True)
        atexit.unregister(self.stop)

    def _save(self) -> None:
        state = {"accounting": self.accounting, "processes": self.processes}
        (self.dir / STATE).write_text(json.dumps(state))

    def _fill(self, text: str, **values: object) -> str:
        host = socket.gethostname().split(".")[0]
        return text.format(dir=self.dir, user=_user(), host=host, mark=MARK, **values)

    def _answers(self, name: str, begun: int) -> bool:
        try:
            answer = self.run("sh", "-c", self._fill(QUESTIONS[name]), seconds=10)
        except ClusterError:
            return False
        if name not in NODES:
            return True
        fields = dict(re.findall(r"(\S+?)=(\S*)", answer))
        registered = fields["SlurmdStartTime"].isdigit() and int(fields["SlurmdStartTime"]) >= begun
        return registered and not re.search(r"DOWN|UNKNOWN|NOT_RESPONDING|\*", fields["State"])

    def _write_files(self) -> None:
        for name in ("log", "state", "bin", *NODES):
            (self.dir / name).mkdir()
        values: dict[str, object] = {"ports": _free_ports(5), "key": os.urandom(64).hex()}
        values["accounting"] = self._fill(ACCOUNTING, **values) if self.accounting else ""
        for name, text in FILES.items():
            self._write(name, self._fill(text, **values))
        for name in CLIENTS:
            program = shutil.which(name, path=_system_path())
            self._write(f"bin/{name}", self._fill(WRAPPER, program=program))
        for number in range(2):
            (self.dir / f"gpu{number}").symlink_to(os.devnull)

    def _write(self, name: str, text: str) -> None:
        (self.dir / name).touch(mode=0o700 if text.startswith("#!") else 0o600)
        (self.dir / name).write_text(text)

    def _start_all(self) -> None:
        self._write_files()
        self.start_daemon("munged")
        if self.accounting:
            self.run(*self._fill(INSTALL_DATABASE).split())
            self.start_daemon("mariadbd")
            self.start_daemon("slurmdbd")
            for command in ADD_ACCOUNT:
                self.run(*self._fill(command).split())
        for name in ("slurmctld", *NODES):
            self.start_daemon(name)


def start(folder: Path | str, accounting: bool = False, stop_at_exit: bool = True) -> Cluster:
    """Start a cluster in a folder that is new, empty or left by a stopped test cluster.

    Raises MissingSlurm where its programs are not installed.
    """
    _check_programs(accounting)
    cluster = Cluster(folder)
    if not re.fullmatch(r"[\w./-]{1,75}", str(cluster.dir)):
        raise ClusterError(f"Slurm needs a plain path of at most 75 characters, not {cluster.dir}")
    if any(cluster.alive(name) for name in cluster.processes):
        raise ClusterError(f"a test cluster runs in {cluster.dir} already")
    if (cluster.dir / STATE).exists():
        shutil.rmtree(cluster.dir)
    cluster.dir.mkdir(parents=True, exist_ok=True)
    if any(cluster.dir.iterdir()):
        raise ClusterError(f"{cluster.dir} holds other files")
    cluster.accounting, cluster.processes = accounting, {}
    cluster._save()
    if stop_at_exit:
        atexit.register(cluster.stop)
    try:
        cluster._start_all()
    except BaseException:
        cluster.stop()
        raise
    return cluster


def _check_programs(accounting: bool) -> None:
    names = CLIENTS + DAEMONS + (DATABASE if accounting else ())
    missing = [name for name in names if not shutil.which(name, path=_system_path())]
    if missing:
        raise MissingSlurm(f"not installed: {', '.join(missing)}")


def _system_path() -> str:
    """Return PATH with the folders of daemons and without the wrappers of any test cluster."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    folders += ["/usr/local/sbin", "/usr/sbin", "/sbin"]
    kept = [f for f in folders if f and not (Path(f).parent / STATE).exists()]
    return os.pathsep.join(dict.fromkeys(kept))


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(count: int) -> range:
    """Choose free ports in a row, below those that the system gives to outgoing connections."""
    while True:
        ports = range(start := random.randint(10000, 32000), start + count)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in ports:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return ports


def _stat(pid: int) -> tuple[int, int]:
    """Return a process's parent and start time in clock ticks, zeros if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0
    return (0, 0) if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))


def _kill_jobs(homes: set[str]) -> None:
    """Kill what jobs started on these nodes, again and again until nothing is left."""
    deadline = time.monotonic() + 30
    while pids := _job_processes(homes):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise ClusterError(f"processes of jobs do not end: {pids}")
        time.sleep(0.05)


def _job_processes(homes: set[str]) -> set[int]:
    """Find the step daemons of nodes, the processes with their mark, and all children of both."""
    marks = {f"{MARK}={home}".encode() for home in homes}
    parents, pids = {}, set()
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        parent, started = _stat(pid)
        with contextlib.suppress(OSError):
            if started:
                parents[pid] = parent
                step = (process / "comm").read_text() == "slurmstepd\n"
                marked = marks & set((process / "environ").read_bytes().split(b"\0"))
                if marked or (step and os.readlink(process / "cwd") in homes):
                    pids.add(pid)
    while new := {pid for pid, parent in parents.items() if parent in pids} - pids:
        pids |= new
    return pids


def main() -> None:
    """Start, stop or show the cluster from the command line."""
    default = Path(tempfile.gettempdir()) / f"slurm-test-{_user()}"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("start", "stop", "status", "env"))
    parser.add_argument("--accounting", action="store_true", help="with a database (slurmdbd)")
    parser.add_argument("--dir", default=default, help="its folder (%(default)s)")
    args = parser.parse_args()
    try:
        cluster = Cluster(args.dir)
        if args.action == "start":
            cluster = start(args.dir, args.accounting, stop_at_exit=False)
        if args.action == "stop":
            cluster.stop()
        elif args.action == "status":
            alive = {name: cluster.alive(name) for name in cluster.processes}
            print(*(f"{name}: {'runs' if alive[name] else 'ended'}" for name in alive), sep="\n")
            sys.exit(not alive or not all(alive.values()))
        elif not cluster.processes:
            raise ClusterError(f"no test cluster in {cluster.dir}")
        else:
            for name in ("PATH", "SLURM_CONF"):
                print(f"export {name}={shlex.quote(cluster.env[name])}")
    except ClusterError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
