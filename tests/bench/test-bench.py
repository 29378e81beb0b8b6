# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests of the benches themselves, and of how the soak ends: a bench that measures nothing, or something else than it says,
has to fail. What needs loop devices is for root."""
import contextlib
import importlib.machinery
import importlib.util
import io
import os
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


soak = script("../soak/run")


@unittest.skipUnless(os.geteuid() == 0 and os.path.exists("/dev/loop-control"), "needs root and loop devices")
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
