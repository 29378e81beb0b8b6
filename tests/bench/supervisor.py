# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the benches in Python share: a supervisor with a directory, loop devices and mounts of its own, all given back at the end."""
import contextlib
import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
BLOCK = os.urandom(MIB)
LOOP_SECONDS = 10
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as after an interrupt, everything is given back


class Failure(Exception):
    """The text is for whoever started the bench."""


def script(main, tools=()):
    """main of a bench that needs root and these programs; a failure becomes a message and status 1. It runs in a mount
    namespace of its own: whoever copied its mounts into a namespace made meanwhile would hold their devices."""
    name = os.path.basename(sys.argv[0])
    if os.geteuid() != 0:
        raise SystemExit(f"{name}: needs root")
    for tool in tools:
        if not shutil.which(tool):
            raise SystemExit(f"{name}: {tool} is missing")
    if not os.environ.get("BENCH_INSIDE"):
        os.environ["BENCH_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    try:
        sys.exit(main())
    except Failure as failure:
        raise SystemExit(f"{name}: {failure}") from failure


def run(words, **options):
    try:
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=900, check=False, **options)
    except subprocess.TimeoutExpired as expired:
        raise Failure(f"{' '.join(map(str, words))}: not ready after {expired.timeout:.0f} s") from expired
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stderr}{done.stdout[-2000:]}")
    return done.stdout


def wait_until(done, seconds):
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Moved(NamedTuple):
    """What fio moved, and how long processors worked for it: the server, in user mode and in the kernel, and the kernel for everybody
    else on the machine. Nothing is counted twice, and fio's start not at all."""
    bytes: int
    seconds: float
    server: float
    kernel: float

    def rate(self):
        return self.bytes / self.seconds / 1e6

    def per_gib(self, seconds):
        return seconds / (self.bytes / 2**30)


def fio(path, pattern, block, size, seconds, *words, direct=True, depth=1, offset=0, pid=None):
    """pid: of the server, if there is one."""
    engine = "psync" if depth == 1 else "libaio" if direct else "io_uring"  # a buffered read of libaio's waits for the data
    look = "cat /proc/stat" + (f" /proc/{pid}/stat" if pid else "")
    command = ["fio", "--name=x", "--thread", f"--filename={path}", f"--rw={pattern}", f"--bs={block}", f"--iodepth={depth}", f"--direct={int(direct)}",
               f"--ioengine={engine}", f"--size={size}", f"--offset={offset}", "--randrepeat=1", f"--runtime={max(round(seconds * 1000), 1)}ms",
               "--time_based", "--allow_file_create=0", f"--exec_prerun={look}", f"--exec_postrun={look}", "--output-format=json", *words]
    with tempfile.TemporaryDirectory() as directory:
        text = run(command, cwd=directory)
        before, after = (processor_times(os.path.join(directory, f"x.{when}.txt"), pid) for when in ("prerun", "postrun"))
    job = json.loads(text[text.index("{"):])["jobs"][0]
    if job["error"]:
        raise Failure(f"fio on {path}: error {job['error']}")
    facts = job["write" if "write" in pattern else "read"]
    if facts["io_bytes"] == 0:
        raise Failure(f"fio on {path}: moved nothing")
    user, system, kernel = (end - begin for begin, end in zip(before, after))
    return Moved(facts["io_bytes"], max(facts["runtime"] / 1000, 0.001), user + system, max(kernel - system, 0))


def has_io_uring():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(425, 1, None)  # io_uring_setup, the same number everywhere
    return ctypes.get_errno() == errno.EFAULT


def processor_times(path, pid):
    """From a copy of /proc/stat and the server's: its seconds in user mode and in the kernel, and those of the kernel for whomever, interrupts with them."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    words = [int(word) for word in lines[0].split()[1:9]]
    server = lines[-1].rpartition(")")[2].split()[11:13] if pid else (0, 0)
    return int(server[0]) / TICKS, int(server[1]) / TICKS, (words[2] + words[5] + words[6]) / TICKS


def peak_mib(pid):
    """The most memory that the process has had since forget_peak()."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def drop_caches():
    run(["sync"])
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as caches:
        caches.write("3")


def bytes_read(devices):
    """So far, of block devices, by whomever."""
    total = 0
    for device in devices:
        with open(f"/sys/block/{os.path.basename(device)}/stat", encoding="ascii") as file:
            total += int(file.read().split()[2]) * 512
    return total


def check_same(what, path, offset=0):
    """A side that does not give the block that fill() wrote measures something else."""
    with open(path, "rb") as file:
        file.seek(offset)
        if file.read(MIB) != BLOCK:
            raise Failure(f"{what}: not the data that was written")


def mounts_below(directory):
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    return [point for point in points if point == directory or point.startswith(directory + "/")]


class Scratch:
    """A directory, a tmpfs of that many bytes in it, loop devices and mounts. What cannot be given back is an error, as it would be left behind."""

    def __init__(self, room=0):
        self.room, self.loops = room, []

    def __enter__(self):
        self.base = tempfile.mkdtemp(prefix="fused-bench.", dir="/var/tmp")
        os.chmod(self.base, 0o755)
        self.memory = os.path.join(self.base, "memory")
        try:
            os.mkdir(self.memory)
            run(["mount", "-t", "tmpfs", "-o", f"size={max(self.room, 1 << 28)}", "none", self.memory])
            self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def start(self):
        """For what is built on this."""

    def __exit__(self, kind, error, trace):
        left = self.give_back()
        if left and error is None:
            raise Failure("left behind: " + "; ".join(left))
        for what in left:
            print("left behind: " + what, file=sys.stderr)

    def give_back(self):
        """Goes on where something fails. Returns what is left."""
        self.unmount(point for point in mounts_below(self.base) if point != self.memory)
        for loop in self.loops:
            subprocess.run(["losetup", "-d", loop], capture_output=True, check=False)
        # as long as somebody has a loop device open, it and the file below it stay
        left = [f"{loop} ({self.file_of(loop)})" for loop in self.loops if not wait_until(lambda loop=loop: not self.file_of(loop), LOOP_SECONDS)]
        self.unmount(mounts_below(self.base))
        still = mounts_below(self.base)
        if not still:
            shutil.rmtree(self.base)
        return left + [f"mount {point}" for point in still]

    @staticmethod
    def unmount(points):
        for point in reversed(list(points)):
            done = subprocess.run(["umount", point], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                print(done.stderr.strip(), file=sys.stderr)

    def file_of(self, loop):
        """The file of ours below the device; None if there is none any more."""
        try:
            with open(f"/sys/block/{os.path.basename(loop)}/loop/backing_file", encoding="utf-8") as file:
                path = file.read().strip()
        except OSError:
            return None
        return path if path.startswith(self.base + "/") else None

    # --- things to measure on --------------------------------------------------------------------------------------------

    def place(self, kind):
        return self.memory if kind == "tmpfs" else self.base

    def directory(self, name):
        path = os.path.join(self.base, name)
        os.makedirs(path, exist_ok=True)
        return path

    def fill(self, path, size, block=None):
        """Data that no layer can make less of; block: a MiB that is repeated."""
        block = block or os.urandom(MIB)
        with open(path, "wb") as file:
            for at in range(0, size, len(block)):
                file.write(block[:size - at])
            os.fsync(file.fileno())
        return path

    def image(self, kind, name, size, data=False):
        path = os.path.join(self.place(kind), name)
        if data:
            return self.fill(path, size, BLOCK)
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        return path

    def copy(self, image, name):
        path = f"{image}-{name}"
        run(["cp", "--sparse=never", image, path])
        return path

    def loop(self, image):
        """Past the cache of the disk: what is above shall not be measured against memory."""
        on_disk = not image.startswith(self.memory + "/")
        self.loops.append(run(["losetup", "--find", "--show", *(["--direct-io=on"] if on_disk else []), image]).strip())
        with open(f"/sys/block/{os.path.basename(self.loops[-1])}/loop/dio", encoding="ascii") as file:
            if on_disk and file.read().strip() != "1":
                raise Failure(f"{image}: no direct I/O there")
        return self.loops[-1]

    @staticmethod
    def native(kind, device, point):
        run(["mount", "-t", kind, device, point])


class Supervisor(Scratch):
    def __init__(self, build, room=0, policy=None):
        super().__init__(room)
        self.build = os.path.realpath(build)
        self.stage = os.path.join(self.build, "stage")
        self.policy = policy
        self.process, self.served = None, []

    def start(self):
        words = [f"{self.stage}/sbin/fused", "--runtime-directory", self.client()[-1], "--policy", f"{self.stage}/lib/fused",
                 "--launcher", "embedded", "--libexec-directory", f"{self.stage}/libexec/fused"]
        if self.policy:
            words += ["--policy", self.policy]
        with open(self.log(), "wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        if not wait_until(lambda: subprocess.run([*self.client(), "types"], capture_output=True, check=False).returncode == 0, 10):
            raise Failure("the supervisor does not start:\n" + self.log_tail())

    def log(self):
        return os.path.join(self.base, "fused.log")

    def log_tail(self):
        with open(self.log(), encoding="utf-8", errors="replace") as log:
            return log.read()[-3000:]

    def client(self):
        return [f"{self.stage}/bin/fusectl", "--runtime-directory", os.path.join(self.base, "run")]

    def give_back(self):
        left = []
        for point in reversed(self.served):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run([*self.client(), "umount", point], capture_output=True, check=False, timeout=120)
        if self.process:
            self.process.terminate()
            try:
                status = self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                status = self.process.wait()
            if status != 0:
                left = [f"the supervisor ended with status {status}: {self.log_tail()}"]
        return left + super().give_back()

    def program(self, name):
        return next(p for p in (f"{self.stage}/bin/{name}", f"{self.stage}/sbin/{name}") if os.path.exists(p))

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
        with open(f"/proc/{parent}/task/{parent}/children", encoding="utf-8") as file:
            todo += [int(word) for word in file.read().split()]
    return max(pids, key=peak_mib)
