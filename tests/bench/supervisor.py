# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benches in Python share: a supervisor with a directory, loop devices and mounts of its own, all given back at the end."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as after an interrupt, everything is given back


def run(words, **options):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=900, check=False, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stderr}{done.stdout[-2000:]}")
    return done.stdout


def fio(path, pattern, block, size, seconds, *words, direct=True, depth=1, offset=0):
    """Returns (bytes, seconds)."""
    command = ["fio", "--name=x", f"--filename={path}", f"--rw={pattern}", f"--bs={block}", f"--iodepth={depth}", f"--direct={int(direct)}",
               "--ioengine=" + ("libaio" if depth > 1 else "psync"), f"--size={size}", f"--offset={offset}", "--randrepeat=1",
               f"--runtime={seconds}", "--time_based", "--allow_file_create=0", "--output-format=json", *words]
    text = run(command)
    job = json.loads(text[text.index("{"):])["jobs"][0]
    if job["error"]:
        raise SystemExit(f"fio on {path}: error {job['error']}")
    facts = job["write" if "write" in pattern else "read"]
    return max(facts["io_bytes"], 1), max(facts["runtime"] / 1000, 0.001)


def kernel_seconds():
    """Of all processors, since boot: time in the kernel, for whomever, interrupts with it."""
    with open("/proc/stat") as file:
        words = [int(w) for w in file.readline().split()[1:9]]
    return (words[2] + words[5] + words[6]) / TICKS


def server_facts(pid):
    if pid is None:
        return {"cpu": 0.0, "user": 0.0, "peak": 0.0}
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    with open(f"/proc/{pid}/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    return {"cpu": (int(fields[11]) + int(fields[12])) / TICKS, "user": int(fields[11]) / TICKS, "peak": peak / 1024}


class Supervisor:
    def __init__(self, build, room=0, policy=None):
        self.build = os.path.realpath(build)
        self.stage = os.path.join(self.build, "stage")
        self.room, self.policy = room, policy
        self.loops, self.mounts, self.served = [], [], []

    def __enter__(self):
        self.base = tempfile.mkdtemp(prefix="fused-bench.", dir="/var/tmp")
        os.chmod(self.base, 0o755)
        self.memory = os.path.join(self.base, "memory")
        os.mkdir(self.memory)
        self.run_directory = os.path.join(self.base, "run")
        self.process = None
        try:
            run(["mount", "-t", "tmpfs", "-o", f"size={max(self.room, 1 << 28)}", "none", self.memory])
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def start(self):
        words = [f"{self.stage}/sbin/fused", "--runtime-directory", self.run_directory, "--policy", f"{self.stage}/lib/fused",
                 "--launcher", "embedded", "--libexec-directory", f"{self.stage}/libexec/fused"]
        if self.policy:
            words += ["--policy", self.policy]
        self.log = open(os.path.join(self.base, "fused.log"), "w")
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log)
        for _ in range(200):
            if subprocess.run([*self.client(), "types"], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.05)
        with open(os.path.join(self.base, "fused.log")) as log:
            raise SystemExit("the supervisor does not start:\n" + log.read())

    def client(self):
        return [f"{self.stage}/bin/fusectl", "--runtime-directory", self.run_directory]

    def __exit__(self, *_):
        for point in reversed(self.served):
            subprocess.run([*self.client(), "umount", point], capture_output=True, check=False, timeout=120)
        for point in reversed(self.mounts):
            subprocess.run(["umount", point], capture_output=True, check=False)
        for loop in self.loops:
            subprocess.run(["losetup", "-d", loop], capture_output=True, check=False)
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=60)
        subprocess.run(["umount", self.memory], capture_output=True, check=False)
        shutil.rmtree(self.base)

    # --- things to measure on --------------------------------------------------------------------------------------------

    def place(self, kind):
        return self.memory if kind == "tmpfs" else self.base

    def directory(self, name):
        path = os.path.join(self.base, name)
        os.makedirs(path, exist_ok=True)
        return path

    def program(self, name):
        return next(p for p in (f"{self.stage}/bin/{name}", f"{self.stage}/sbin/{name}") if os.path.exists(p))

    def fill(self, path, size):
        """Data that no layer can make less of."""
        block = os.urandom(1 << 20)
        with open(path, "wb") as file:
            for at in range(0, size, len(block)):
                file.write(block[:size - at])
            os.fsync(file.fileno())
        return path

    def image(self, kind, name, size, data=False):
        path = os.path.join(self.place(kind), name)
        if data:
            return self.fill(path, size)
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        return path

    def copy(self, image, name):
        path = f"{image}-{name}"
        run(["cp", "--sparse=never", image, path])
        return path

    def loop(self, image):
        self.loops.append(run(["losetup", "--find", "--show", image]).strip())
        return self.loops[-1]

    def native(self, kind, device, point):
        run(["mount", "-t", kind, device, point])
        self.mounts.append(point)

    def mount(self, kind, devices, point, options=None):
        """Returns the pid of the server."""
        words = [*self.client(), "mount", kind, devices[0], point]
        given = [f"slot.device{i}={device}" for i, device in enumerate(devices[1:], 1)] + ([options] if options else [])
        if given:
            words += ["-o", ",".join(given)]
        run(words)
        self.served.append(point)
        pid = json.loads(run([*self.client(), "--json", "status", point]))["server-pid"]
        return inner_pid(pid)


def inner_pid(pid):
    """The process that has the most memory of those below pid: the server, also where an agent stands beside it."""
    pids, todo = [], [pid]
    while todo:
        parent = todo.pop()
        pids.append(parent)
        with open(f"/proc/{parent}/task/{parent}/children") as file:
            todo += [int(word) for word in file.read().split()]
    return max(pids, key=lambda p: server_facts(p)["peak"])
