# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests of the benches themselves, and of how the soak ends: a bench that measures nothing, or something else than it says,
has to fail. What needs loop devices is for root."""
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import supervisor  # noqa: E402
from supervisor import MIB, Failure, Scratch  # noqa: E402


def script(name):
    loader = importlib.machinery.SourceFileLoader("bench_" + name.replace("/", "_"), os.path.join(HERE, name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


soak, data, bench_run = script("../soak/run"), script("data"), script("run")
HAS_LOOPS = os.geteuid() == 0 and os.path.exists("/dev/loop-control")


@unittest.skipUnless(HAS_LOOPS, "needs root and loop devices")
class GiveBack(unittest.TestCase):
    """Where somebody else still has open what has to go."""

    def begin(self):
        scratch = Scratch()
        scratch.__enter__()
        loop = scratch.loop(scratch.image("tmpfs", "image", MIB))
        return scratch, loop, os.open(loop, os.O_RDONLY)

    def assert_gone(self, scratch, loop):
        self.assertEqual((scratch.file_of(loop), supervisor.mounts_below(scratch.base), os.path.exists(scratch.base)), (None, [], False))

    def test_waits_for_a_loop_device(self):
        scratch, loop, fd = self.begin()
        with subprocess.Popen(["sleep", "1"], stdin=fd):
            os.close(fd)
            scratch.__exit__(None, None, None)
        self.assert_gone(scratch, loop)

    def test_says_what_stays(self):
        scratch, loop, fd = self.begin()
        with mock.patch.object(supervisor, "LOOP_SECONDS", 0.2), contextlib.redirect_stderr(io.StringIO()):
            with self.assertRaisesRegex(Failure, f"left behind: {loop} .*; mount {scratch.memory}"):
                scratch.__exit__(None, None, None)
        self.assertTrue(os.path.exists(scratch.base))
        os.close(fd)
        self.assertEqual(scratch.give_back(), [])
        self.assert_gone(scratch, loop)

    def test_nobody_else_gets_copies_of_the_mounts(self):
        with tempfile.NamedTemporaryFile(mode="w", encoding="utf-8", suffix=".py") as file:
            file.write(f"import os, sys\nsys.path.insert(0, {HERE!r})\nfrom supervisor import script\n"
                       "script(lambda: print(os.readlink('/proc/self/ns/mnt'), *sys.argv[1:]))\n")
            file.flush()
            words = [sys.executable, file.name, "--option", "a b"]
            namespace, *rest = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        self.assertNotEqual(namespace, os.readlink("/proc/self/ns/mnt"))
        self.assertEqual(rest, ["--option", "a", "b"])

    def test_an_earlier_error_is_not_hidden(self):
        with self.assertRaises(ZeroDivisionError), Scratch() as scratch:
            scratch.loop(scratch.image("tmpfs", "image", MIB))
            raise ZeroDivisionError
        self.assert_gone(scratch, scratch.loops[0])


class Fio(unittest.TestCase):
    STAT = "cpu {} 0 {} 0 0 {} {} 0 0 0\ncpu0 0 0 0 0\n"
    SERVER = "7 (a) b) S" + " 0" * 10 + " {} {} 0\n"

    def fio(self, seconds, n_bytes, pid=None):
        ticks = supervisor.TICKS

        def run(words, cwd):
            self.words = words
            for when, n in ("prerun", 0), ("postrun", ticks):
                with open(os.path.join(cwd, f"x.{when}.txt"), "w", encoding="ascii") as file:
                    file.write(self.STAT.format(9 * n, 5 * n, 2 * n, n) + (self.SERVER.format(3 * n, 2 * n) if pid else ""))
            return "a note\n" + json.dumps({"jobs": [{"error": 0, "read": {"io_bytes": n_bytes, "runtime": 2000}}]})
        with mock.patch.object(supervisor, "run", run):
            return supervisor.fio("/data", "read", "1M", MIB, seconds, pid=pid)

    def test_less_than_a_second(self):
        self.fio(0.2, 1)
        self.assertIn("--runtime=200ms", self.words)

    def test_figures_do_not_overlap(self):
        moved = self.fio(1, 4 << 30, pid=7)
        self.assertEqual((moved.server, moved.kernel, moved.per_gib(moved.kernel)), (5, 8 - 2, 1.5))
        self.assertEqual(self.fio(1, 1).kernel, 8)

    def test_nothing_moved(self):
        with self.assertRaisesRegex(Failure, "moved nothing"):
            self.fio(1, 0)

    def test_a_peak_is_that_of_the_row(self):
        with open("/dev/zero", "rb") as zero:
            self.assertEqual(len(zero.read(64 * MIB)), 64 * MIB)
        before = supervisor.peak_mib(os.getpid())
        supervisor.forget_peak(os.getpid())
        self.assertLess(supervisor.peak_mib(os.getpid()), before - 32)

    def test_other_data_than_was_written(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(MIB) + supervisor.BLOCK)
            file.flush()
            supervisor.check_same("side", file.name, MIB)
            with self.assertRaisesRegex(Failure, "not the data"):
                supervisor.check_same("side", file.name)


class DataRows(unittest.TestCase):
    def test_the_short_run_has_rows_of_every_kind(self):
        rows = data.chosen(data.ROWS, "", True, True)
        self.assertEqual({(row.writes(), row.mode) for row in rows}, {(row.writes(), row.mode) for row in data.ROWS})
        for field in ("pattern", "depth"):
            self.assertEqual({getattr(row, field) for row in rows}, {getattr(row, field) for row in data.ROWS})

    def test_without_io_uring(self):
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            rows = data.chosen(data.ROWS, "^read", False, False)
        self.assertEqual([row.name() for row in rows], ["read 1M QD1 direct", "read 1M QD16 direct", "read 1M QD1 buffered", "read 1M QD1 buffered, warm"])
        self.assertIn("QD1 only", errors.getvalue())

    def measure(self, row, from_device):
        moved, read = supervisor.Moved(100 * MIB, 1.0, 0.0, 0.0), iter((0, from_device))
        with tempfile.NamedTemporaryFile() as file, mock.patch.multiple(
                data, fio=lambda *_, **__: moved, bytes_read=lambda _: next(read), drop_caches=lambda: None):
            return data.measure(data.Side("native", file.name, []), row, MIB, 1)

    def test_a_warm_row_that_reads_from_the_device(self):
        warm = data.Row("read", "1M", 1, "buffered, warm")
        with self.assertRaisesRegex(Failure, "40 of 100 MiB came from the device"):
            self.measure(warm, 40 * MIB)
        self.assertIn("MB/s", self.measure(warm, MIB))
        self.assertIn("MB/s", self.measure(data.Row("read", "1M", 1, "buffered"), 100 * MIB))

    @unittest.skipUnless(HAS_LOOPS and shutil.which("fio"), "needs root, loop devices and fio")
    def test_a_device_stays_warm(self):
        with Scratch() as scratch:
            loop = scratch.loop(scratch.image("tmpfs", "image", 16 * MIB, data=True))
            side = data.Side("native", loop, [loop])
            side.check()
            data.measure(side, data.Row("randread", "4k", 1, "buffered, warm"), 16 * MIB, 0.1)

    @unittest.skipUnless(HAS_LOOPS, "needs root and loop devices")
    def test_a_loop_device_over_the_disk_passes_its_cache_by(self):
        with Scratch() as scratch:
            image = scratch.image("disk", "image", MIB)
            try:
                loop = scratch.loop(image)
            except Failure as failure:
                self.skipTest(str(failure))
            with open(f"/sys/block/{os.path.basename(loop)}/loop/dio", encoding="ascii") as file:
                self.assertEqual(file.read().strip(), "1")


class Run(unittest.TestCase):
    def run_benches(self, figures):
        with tempfile.TemporaryDirectory() as directory:
            results = os.path.join(directory, "results")
            words = ["run", "--only", "cache-policy", "--only", "floor", "--results", results, "--plot", os.path.join(directory, "plot.svg")]
            with mock.patch.object(bench_run, "figures", lambda name, _: figures[name]()), mock.patch.object(sys, "argv", words), \
                    contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                status = bench_run.main()
            with open(results, encoding="utf-8") as file:
                return status, file.read().splitlines()

    def test_one_that_measures_nothing_or_breaks_is_a_failure(self):
        one = {"row": "read", "unit": "usec", "fused": 1, "device": 1, "fuse": 1}
        self.assertEqual(self.run_benches({"cache-policy": lambda: [], "floor": lambda: [one]}), (1, ["fail bench/cache-policy", "pass bench/floor"]))
        self.assertEqual(self.run_benches({"cache-policy": lambda: 1 / 0, "floor": lambda: [one]}), (1, ["fail bench/cache-policy", "pass bench/floor"]))

    def test_what_the_peer_takes(self):
        def side(n):
            return {"MB/s": n, "server s/GiB": n + 1, "kernel s/GiB": n + 2, "peak MiB": n + 3}
        native, fuse2fs = bench_run.data([{"server": "ext4", "place": "tmpfs", "row": "randread 4k QD1 direct", "sides": {
            "native": {"MB/s": 40, "kernel s/GiB": 42}, "fused": side(30), "fuse2fs": side(10)}}])
        self.assertEqual((native["aim"], native["server"], native["kernel"], native["peak"], native["kernel_peer"]), (0.6, 31, 32, 33, 42))
        self.assertNotIn("server_peer", native)
        self.assertEqual((fuse2fs["aim"], fuse2fs["server_peer"], fuse2fs["kernel_peer"], fuse2fs["peak_peer"]), (3, 11, 12, 13))

    def test_an_interrupted_bench_gives_back_what_it_has(self):
        with tempfile.TemporaryDirectory() as directory:
            ready, gone = os.path.join(directory, "ready"), os.path.join(directory, "gone")
            bench = f"trap 'kill $!; echo > {gone}; exit 143' TERM; sleep 60 & echo > {ready}; wait"
            code = ("import runpy, signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
                    "runpy.run_path(sys.argv[1], run_name='run')['output'](['sh', '-c', sys.argv[2]])")
            with subprocess.Popen([sys.executable, "-c", code, os.path.join(HERE, "run"), bench]) as process:
                self.assertTrue(supervisor.wait_until(lambda: os.path.exists(ready), 20))
                process.send_signal(signal.SIGTERM)
                self.assertEqual(process.wait(timeout=20), 143)
            self.assertTrue(os.path.exists(gone))


class Soak(unittest.TestCase):
    def test_one_that_breaks_is_a_failure_and_the_others_run(self):
        def one(name, options):
            return {"server": name, "peak": {}["missing"] if name == "pack" else 0}
        output = io.StringIO()
        with mock.patch.object(soak, "soak", one), mock.patch.object(sys, "argv", ["run", "--seed", "1"]), \
                contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(soak.main(), 1)
        self.assertEqual(output.getvalue().split("\n")[1:-1], ["pass soak/stripe", "fail soak/pack", "pass soak/ext4-map"])


if __name__ == "__main__":
    unittest.main()
