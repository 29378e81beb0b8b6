# SPDX-License-Identifier: LGPL-2.1-or-later
"""Inside the machine of unit-latency: unit-latency.py STAGE ROUNDS JSON."""
import json
import os
import subprocess
import sys
import time

STAGE, ROUNDS, JSON = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1"
TABLE = sys.stderr if JSON else sys.stdout
WORK = "/tmp/latency"
IMAGE, POINT = WORK + "/image", WORK + "/mnt"
FUSECTL = STAGE + "/bin/fusectl"
OWN = WORK + "/own"


def run(*words, **kwargs):
    return subprocess.run(words, check=True, capture_output=True, text=True, **kwargs).stdout


def through(directory):
    def one():
        started = time.monotonic()
        number = run(FUSECTL, "--runtime-directory", directory, "mount", "squashfs", IMAGE, POINT).strip()
        os.stat(POINT + "/file")
        took = time.monotonic() - started
        run(FUSECTL, "--runtime-directory", directory, "umount", number)
        return took
    return one


def systemd_run():
    started = time.monotonic()
    run("systemd-run", "-q", "--service-type=exec", "--collect", "--unit=latency-server", "/usr/bin/squashfuse_ll", "-f", IMAGE, POINT)
    while not os.path.exists(POINT + "/file"):
        time.sleep(0.0002)
    took = time.monotonic() - started
    run("umount", POINT)
    while subprocess.run(["systemctl", "is-active", "-q", "latency-server"]).returncode == 0:
        time.sleep(0.002)
    return took


def spares(n):
    with open("/etc/fused/fused.conf.d/rig.conf", "w", encoding="utf-8") as f:
        f.write(f"[Supervisor]\nSpares={n}\n")
    run("systemctl", "restart", "fused.service")


def pss(unit):
    """Of all processes of a unit, in KiB."""
    group = run("systemctl", "show", "-P", "ControlGroup", unit).strip()
    total = 0
    with open("/sys/fs/cgroup" + group + "/cgroup.procs", encoding="utf-8") as f:
        for pid in f.read().split():
            with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as maps:
                total += sum(int(line.split()[1]) for line in maps if line.startswith("Pss:"))
    return total


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))]


def main():
    os.makedirs(WORK + "/tree")
    os.makedirs(POINT)
    with open(WORK + "/tree/file", "w", encoding="utf-8") as f:
        f.write("text\n")
    run("mksquashfs", WORK + "/tree", IMAGE, "-quiet", "-no-progress")
    run("systemctl", "start", "fused.socket")
    own = subprocess.Popen([STAGE + "/sbin/fused", "--runtime-directory", OWN, "--launcher", "embedded"], stderr=subprocess.DEVNULL)
    while not os.path.exists(OWN + "/control"):
        time.sleep(0.01)
    sides = {"unit": through("/run/fused"), "fused's launcher": through(OWN), "systemd-run": systemd_run}
    rows = []
    for title, n in (("nothing started ahead (Spares=0)", 0), ("one server started ahead (Spares=4), 0.2 s between mounts", 4)):
        spares(n)
        figures = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, one in sides.items():
                figures[name].append(one() * 1000)
                time.sleep(0.2 if n else 0)
        print(f"{title}: request -> first stat, {ROUNDS} rounds", file=TABLE)
        base = percentile(figures["systemd-run"], 0.5)
        for name, values in figures.items():
            p50 = percentile(values, 0.5)
            print(f"  {name:17} p50 {p50:6.1f} ms   p99 {percentile(values, 0.99):6.1f} ms   p50/systemd-run {p50 / base:.2f}", file=TABLE, flush=True)
            rows.append({"spares": n, "side": name, "p50": p50, "p99": percentile(values, 0.99)})
    number = run(FUSECTL, "mount", "squashfs", IMAGE, POINT).strip()
    status = run(FUSECTL, "--json", "status", number)
    unit = status.split("fuse-service-squashfs@")[1].split(".service")[0]
    print(f"memory: one unit's processes {pss(f'fuse-service-squashfs@{unit}.service')} KiB PSS; fused.service {pss('fused.service')} KiB PSS",
          file=TABLE)
    run(FUSECTL, "umount", number)
    own.terminate()
    own.wait()
    if JSON:
        print(json.dumps(rows))


main()
