# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""What perf/ndr/run and perf/vs/run share: namespaces, the programs under test, medians.

Everything happens in mount, network and process namespaces of its own, so that nothing is left
behind. The generator and what it tests share the machine: the generator and the gateway's control
core are on the first core, the gateway's worker is on the second.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = TOP / "build-perf"
LOADGEN = BUILD / "perf/loadgen/loadgen"
GATEWAY = BUILD / "control/gateway/sallyport-gateway"
INSIDE = "SALLYPORT_PERF_INSIDE"


def arguments(text):
    p = argparse.ArgumentParser(description=text)
    p.add_argument("--quick", action="store_true", help="shorter trials, fewer cases")
    p.add_argument("--json", metavar="FILE", help="where the results go")
    p.add_argument("--runs", type=int, default=5, help="runs of each case (5)")
    return p.parse_args()


def enter():
    """Builds, then re-executes the script in its own namespaces; returns only inside."""
    if os.environ.get(INSIDE) == "1":
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/dpdk"], check=True)
        os.makedirs("/run/wireguard", exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/wireguard"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    if os.geteuid() != 0:
        sys.exit("needs root: network namespaces and TAP devices")
    os.makedirs("/run/dpdk", exist_ok=True)
    os.environ[INSIDE] = "1"
    build()
    os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
                          "--mount-proc", sys.executable, *sys.argv])


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
    d = pathlib.Path(tempfile.mkdtemp(prefix="sallyport-perf."))
    try:
        subprocess.run([LOADGEN, "--write-config", d, "--clients", str(clients)], check=True)
        yield d
    finally:
        shutil.rmtree(d, ignore_errors=True)


@contextlib.contextmanager
def process(command, log):
    with open(log, "ab") as f:
        p = subprocess.Popen([str(c) for c in command], stdout=f, stderr=subprocess.STDOUT)
    try:
        yield p
    finally:
        p.terminate()
        try:
            p.wait(10)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def memif(d, side, role):
    return f"net_memif{side},role={role},socket={d}/memif{side}.sock,socket-abstract=no,rsize=13"


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
cores: {{control: 0, worker: 1}}
idle: {idle}
hugepages: false
memory_mb: 1024
mbufs: 65535
max_flows: {flows}
file_prefix: perf-gateway
"""


@contextlib.contextmanager
def gateway(d, idle, flows):
    """The real gateway on two memif ports, with the peers of @p d. Yields its process id."""
    text = GATEWAY_YAML.format(wan=memif(d, 0, "server"), lan=memif(d, 1, "server"), idle=idle,
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
        yield p.pid


def loadgen_command(vdevs, names, *options):
    command = [LOADGEN, "-l", "0", "--no-huge", "--no-pci", "-m", "768", "--file-prefix=perf-loadgen",
               "--log-level=error"]
    command += [f"--vdev={v}" for v in vdevs]
    return [str(c) for c in [*command, "--", "--wan", names[0], "--lan", names[1], *options]]


def loadgen_run(command, seconds):
    """Runs the generator. @return what it printed, parsed"""
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       timeout=seconds, check=False)
    if r.returncode != 0:
        raise RuntimeError(f"loadgen failed, status {r.returncode}:\n{r.stderr[-2000:]}")
    return parse(r.stdout)


def parse(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def loadgen_memif(d, *options, seconds=300):
    vdevs = [memif(d, 0, "client"), memif(d, 1, "client")]
    return loadgen_run(loadgen_command(vdevs, ["net_memif0", "net_memif1"], *options), seconds)


def spread(values):
    """Median, minimum and maximum."""
    return statistics.median(values), min(values), max(values)


def each(cases, case_run):
    """Yields the results of the cases that work and tells about the others."""
    for case in cases:
        try:
            yield case_run(case)
        except (RuntimeError, subprocess.SubprocessError) as e:
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
