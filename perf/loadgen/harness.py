# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""What perf/ndr/run and perf/vs/run share: namespaces, the programs under test, medians.

Everything happens in mount, network and process namespaces of its own, so that nothing is left
behind. The generator and what it tests share the machine: the generator and the gateway's control
core are on the first core, the gateway's worker is on the second.
"""

import argparse
import contextlib
import ctypes
import json
import os
import pathlib
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
# The functional tests have a build of their own.
BUILD = TOP / os.environ.get("LAB_BUILD", "build-perf")
LOADGEN = BUILD / "perf/loadgen/loadgen"
GATEWAY = BUILD / "control/gateway/sallyport-gateway"
INSIDE = "SALLYPORT_PERF_INSIDE"


def arguments(text):
    p = argparse.ArgumentParser(description=text)
    p.add_argument("--quick", action="store_true", help="shorter trials, fewer cases")
    p.add_argument("--json", metavar="FILE", help="where the results go")
    p.add_argument("--runs", type=int, default=5, help="runs of each case (5)")
    p.add_argument("--realtime", action="store_true",
                   help="at nice -20: on a shared machine the others wait")
    args = p.parse_args()
    if args.realtime:
        # Not SCHED_FIFO: the generator never sleeps and shares its core with the gateway's control.
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    return args


def stop_on_signals(action):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, action)


def enter():
    """Builds, then runs the script again in its own namespaces; returns only inside.

    Outside stays a process that takes signals, so that the programs inside are ended in order, and
    that removes the files whatever happened inside.
    """
    if os.environ.get(INSIDE):
        stop_on_signals(lambda number, _: sys.exit(128 + number))
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/dpdk"], check=True)
        os.makedirs("/run/wireguard", exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/wireguard"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    if os.geteuid() != 0:
        sys.exit("needs root: network namespaces and TAP devices")
    os.makedirs("/run/dpdk", exist_ok=True)
    if "LAB_BUILD" not in os.environ:
        build()
    sys.exit(run_inside(tempfile.mkdtemp(prefix="sallyport-perf.")))


def run_inside(files):
    """@return the exit status of this script with namespaces and a directory of its own"""
    child = None

    # Never by an exception: the files go away after the programs, not before.
    def stop(number, _):
        if child is not None:
            child_signal(child.pid, number)

    stop_on_signals(stop)
    try:
        with subprocess.Popen(
                ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                 sys.executable, *sys.argv],
                env={**os.environ, INSIDE: files}, start_new_session=True,
                preexec_fn=die_with_parent) as child:
            rc = child.wait()
    finally:
        shutil.rmtree(files, ignore_errors=True)
    return rc if rc >= 0 else 128 - rc


def die_with_parent():
    """PR_SET_PDEATHSIG: nothing is left even if this process is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def child_signal(unshare_pid, number):
    """unshare(1) blocks signals; its child is the one to tell."""
    path = f"/proc/{unshare_pid}/task/{unshare_pid}/children"
    with contextlib.suppress(OSError), open(path, encoding="ascii") as f:
        for pid in f.read().split():
            os.kill(int(pid), number)


def build():
    if not (BUILD / "build.ninja").exists():
        quiet(["meson", "setup", str(BUILD), "--buildtype=release", "-Db_ndebug=true",
               "-Dtests=false"], cwd=TOP)
    quiet(["ninja", "-C", str(BUILD), "-j2", "perf/loadgen/loadgen",
           "control/gateway/sallyport-gateway"])


def quiet(command, **kwargs):
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       check=False, **kwargs)
    if r.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{r.stdout[-4000:]}")
    return r.stdout


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


@contextlib.contextmanager
def workdir(clients):
    """A directory with keys and peers for that many clients."""
    d = pathlib.Path(tempfile.mkdtemp(dir=os.environ[INSIDE]))
    try:
        subprocess.run([LOADGEN, "--write-config", d, "--clients", str(clients)], check=True)
        yield d
    finally:
        shutil.rmtree(d, ignore_errors=True)


def stop(p):
    p.terminate()
    try:
        p.wait(10)
    except subprocess.TimeoutExpired:
        p.kill()
        p.wait()


@contextlib.contextmanager
def process(command, log):
    with open(log, "ab") as f:
        p = subprocess.Popen([str(c) for c in command], stdout=f, stderr=subprocess.STDOUT)
    try:
        yield p
    finally:
        stop(p)


def memif(d, side, role):
    """The generator is the server: it is there before the gateway and after it."""
    return f"net_memif{side},role={role},socket={d}/memif{side}.sock,socket-abstract=no,rsize=13"


class Wires:
    """The devices between generator and gateway, by side (0: WAN, 1: LAN)."""

    def __init__(self, generator, gateway, gateway_is_first=False):
        self.generator, self.gateway = generator, gateway
        self.gateway_is_first = gateway_is_first


def memif_wires(d):
    return Wires([memif(d, i, "server") for i in (0, 1)], [memif(d, i, "client") for i in (0, 1)])


def virtio(d, side, queues):
    return f"net_virtio_user{side},path={d}/vhost{side}.sock,queues={queues},queue_size=1024"


def vhost(d, side, queues):
    return f"net_vhost{side},iface={d}/vhost{side}.sock,queues={queues}"


def virtio_wires(d, queues):
    """The gateway in a virtual machine, as it were: vhost-user is the other side."""
    return Wires([vhost(d, i, queues) for i in (0, 1)], [virtio(d, i, queues) for i in (0, 1)])


def vhost_wires(d, queues):
    """The gateway is what virtual machines are plugged into. virtio-user connects while it is
    probed, so who serves comes first."""
    return Wires([virtio(d, i, queues) for i in (0, 1)], [vhost(d, i, queues) for i in (0, 1)], True)


GATEWAY_YAML = """\
ports:
  - name: wan
    role: wan
    device: "{wan}"
    addresses: [198.18.0.1/30]
    routes: [{{to: 198.18.64.0/18, via: 198.18.0.2}}]
  - name: lan
    role: lan
    device: "{lan}"
    addresses: [198.19.0.1/30]
    routes: [{{to: 198.19.128.0/17, via: 198.19.0.2}}]
cores: {cores}
idle: {idle}
hugepages: false
memory_mb: 1024
mbufs: 65535
max_flows: {flows}
file_prefix: perf-gateway
"""


ONE_WORKER = "{control: 0, worker: 1}"


@contextlib.contextmanager
def gateway(d, wires, idle, flows, cores):
    """The real gateway with the peers of @p d. Yields the process."""
    text = GATEWAY_YAML.format(wan=wires.gateway[0], lan=wires.gateway[1], idle=idle, cores=cores,
                               flows=max(65536, 2 * flows))
    (d / "gateway.yaml").write_text(text + (d / "peers.yaml").read_text())
    env_command = ["env", "-u", "FIREZONE_TOKEN", GATEWAY, "--config", d / "gateway.yaml"]
    log = d / "gateway.log"
    with process(env_command, log) as p:
        def ready():
            if p.poll() is not None:
                raise RuntimeError("gateway ended:\n" + log.read_text()[-2000:])
            return "static peers ready" in log.read_text()
        wait_until(ready, 60, "gateway")
        yield p


class Generator:
    """perf/loadgen, told by lines what to measure."""

    def __init__(self, d, wires, *options):
        self.log = d / "loadgen.log"
        names = [w.split(",")[0] for w in wires]
        command = [LOADGEN, "-l", "0", "--no-huge", "--no-pci", "-m", "768",
                   "--file-prefix=perf-loadgen", "--log-level=error",
                   *[f"--vdev={w}" for w in wires], "--", "--serve", "--wan", names[0], "--lan",
                   names[1], *options]
        with open(self.log, "ab") as err:
            self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=err, text=True)
        self.rows = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        try:
            self._until("ready", 60)
        except BaseException:
            stop(self.process)
            raise
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        stop(self.process)

    def _read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                self.rows.put(json.loads(line))
        self.rows.put(None)

    def _until(self, kind, seconds):
        """@return the rows up to the first of that kind, which is the last one"""
        rows, deadline = [], time.monotonic() + seconds
        while not rows or rows[-1]["kind"] != kind:
            try:
                row = self.rows.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty as e:
                raise RuntimeError(f"loadgen: not within {seconds} s") from e
            if row is None:
                raise RuntimeError("loadgen ended:\n" + self.log.read_text()[-2000:])
            rows.append(row)
        return rows

    def measure(self, sut, *options, seconds=600):
        """@return what it printed: a row "machine", then one for each trial"""
        line = " ".join(["--pid", str(sut.pid), *[str(o) for o in options]])
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        rows = self._until("done", seconds)
        if sut.poll() is not None:
            raise RuntimeError(f"the program under test ended with {sut.returncode}")
        if not rows[-1]["ok"]:
            raise RuntimeError("loadgen:\n" + self.log.read_text()[-2000:])
        return rows[:-1]


@contextlib.contextmanager
def generator_and_gateway(d, wires, clients, flows, *options, idle="busy", cores=ONE_WORKER):
    """Both, in the order that the wires want. Yields the generator and the gateway's process."""
    words = ["--clients", clients, "--flows", flows, *options]
    with contextlib.ExitStack() as stack:
        if wires.gateway_is_first:
            sut = stack.enter_context(gateway(d, wires, idle, clients * flows, cores))
        lg = stack.enter_context(Generator(d, wires.generator, *words))
        if not wires.gateway_is_first:
            sut = stack.enter_context(gateway(d, wires, idle, clients * flows, cores))
        yield lg, sut


def spread(values):
    """Median, minimum and maximum."""
    return statistics.median(values), min(values), max(values)


def each(cases, case_run):
    """Yields the results of the cases that work and tells about the others."""
    for case in cases:
        try:
            yield case_run(case)
        except (RuntimeError, OSError, subprocess.SubprocessError) as e:
            print(f"case {case} failed: {e}", file=sys.stderr, flush=True)


def result_write(path, results):
    if not results:
        sys.exit(1)
    top = {"machine": {"load": os.getloadavg()[0], "cpus": os.cpu_count(), "ports": "memif"},
           "results": results}
    if path:
        with open(path, "w", encoding="utf-8") as f:
            json.dump(top, f, indent=1)
            f.write("\n")
