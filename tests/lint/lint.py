# SPDX-License-Identifier: LGPL-2.1-or-later
"""The style rules that a machine can check (HACKING.md). Each rule is tried on a bad and a good sample of its own first, so
that a rule which never finds anything shows up."""
import re
import subprocess
import sys

LAYERS = {  # folder: folders whose headers it may include ("." is what it owns itself)
    "fused/base": {"base"},
    "fused/wire": {"base", "wire", "policy"},
    "policy": {"base", "policy"},
    "fused/agent": {"base", "agent", "policy"},
    "fused/launcher": {"base", "wire", "policy", "launcher", "broker", "agent"},
    "fused/broker": {"base", "wire", "policy", "broker", "launcher", "program"},
    "fused/manager": {"base", "wire", "policy", "manager"},
    "client": {"base", "client", "policy"},
    "server": {"base", "wire", "server", "session", "map", "program", "extents", "linear", "stripe"},
    "bpf": {"bpf", "extents", "linear", "stripe"},
    "fused/program": {"base", "wire", "program", "policy"},
}
ROOT_INCLUDES = {"config.h", "policy-config.h", "libfused.h", "fused-server.h", "fused-map.h", "fused-mapping.h", "fuse_service.h", "fused-program.h", "load.h",
                 "variant.h", "halves.h"}
PRIVILEGED_CALLS = r"\b(cap_set_proc|fsopen|fsmount|move_mount|mount_setattr|open_tree|pivot_root|setns|chroot|cap_drop_bound)\s*\("
MAY_BE_PRIVILEGED = ("fused/broker/", "fused/launcher/", "fused/agent/", "fused/program/privilege.c", "tests/", "client/doctor", "client/mount-fused.c", "bpf/", "kernel/")


def is_c(path):
    return path.endswith((".c", ".h"))


def code_lines(text):
    """(number, line) without comments and strings."""
    text = re.sub(r'"(\\.|[^"\\\n])*"', '""', text)
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return list(enumerate(text.split("\n"), 1))


def spdx(path, text):
    if not re.search(r"\.(c|h|sh|py|scd|md|conf|build|txt)$", path) and not text.startswith("#!"):
        return
    if path.endswith((".md", ".scd", ".txt")) or "/corpus/" in path:
        return
    head = "\n".join(text.split("\n")[:4])
    want = "GPL-2.0" if path.startswith(("bpf/", "kernel/")) else "LGPL-2.1-or-later"
    if "SPDX-License-Identifier: " not in head or want not in head:
        yield 1, f"no SPDX line with {want}"


def width(path, text):
    if path.endswith((".c", ".h", ".sh", ".py", ".build")) or text.startswith("#!"):
        for n, line in enumerate(text.split("\n"), 1):
            if len(line.expandtabs(8)) > (150 if is_c(path) else 250):  # a pipeline is one line
                yield n, f"{len(line)} columns"


def whitespace(path, text):
    if path.startswith("LICENSES/"):  # verbatim
        return
    for n, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip():
            yield n, "blank at the end of the line"
        if is_c(path) and "\t" in line:
            yield n, "tab"


def no_goto(path, text):
    if is_c(path):
        for n, line in code_lines(text):
            if re.search(r"\bgoto\b", line):
                yield n, "goto"


def no_dup(path, text):
    if is_c(path) and not path.startswith("tests/"):
        for n, line in code_lines(text):
            if re.search(r"(?<![\w.>])dup\s*\(", line):
                yield n, "dup(): use fd_dup()"


def close_on_exec(path, text):
    if is_c(path) and not path.startswith("tests/"):
        for n, line in code_lines(text):
            if re.search(r"\b(memfd_create|pipe|socketpair|accept|epoll_create)\s*\(", line) and "CLOEXEC" not in line and "pipe2" not in line:
                if re.search(r"\b(pipe|accept|epoll_create)\s*\(", line):
                    yield n, "a descriptor that is not close-on-exec at birth"


def layers(path, text):
    if not is_c(path):
        return
    owner = max((f for f in LAYERS if path.startswith(f + "/")), key=len, default=None)
    if owner is None:
        return
    for n, line in enumerate(text.split("\n"), 1):
        match = re.match(r'#include "([^"]+)"', line)
        if not match or match.group(1) in ROOT_INCLUDES:
            continue
        folder = match.group(1).split("/")[0] if "/" in match.group(1) else None
        own = {owner.split("/")[-1]} | set(path.split("/")[:-1])
        if folder is None and owner in ("client", "server"):
            continue
        if folder not in LAYERS[owner] | own:
            yield n, f"{owner} may not include {match.group(1)}"


def pragma_once(path, text):
    if path.endswith(".h") and "#pragma once" not in text:
        yield 1, "no #pragma once"


def size(path, text):
    if is_c(path) and text.count("\n") > 900:
        yield 1, f"{text.count(chr(10))} lines"


def functions(path, text):
    if not path.endswith(".c") or path.startswith("tests/"):
        return
    start, name = None, ""
    for n, line in code_lines(text):
        if start is None and re.match(r"^[a-zA-Z_].*\)\s*\{$", line) and not line.startswith(("typedef", "struct", "enum")):
            start, name = n, line
        elif line.startswith("}") and start is not None:
            if n - start - 1 > 80:
                yield start, f"{n - start - 1} lines: {name[:60]}"
            start = None


def privilege(path, text):
    if path.endswith(".c") and not path.startswith(MAY_BE_PRIVILEGED):
        for n, line in code_lines(text):
            if re.search(PRIVILEGED_CALLS, line):
                yield n, "a privileged call outside broker and launcher"


def placeholder(path, text):
    if path != "tests/lint/lint.py":
        for n, line in enumerate(text.split("\n"), 1):
            if re.search(r"\b(XXX|TODO|FIXME)\b", line) and "mktemp" not in line and "XXXXX" not in line:
                yield n, "placeholder"


def workplace(path, text):
    if path != "tests/lint/lint.py":
        for n, line in enumerate(text.split("\n"), 1):
            if re.search(r"/work/|\.\./shared\b|/tmp/brief", line):
                yield n, "names a place that is no part of the project"


C = "/* SPDX-License-Identifier: LGPL-2.1-or-later */\n"
RULES = [  # rule, path, bad sample, good sample
    (spdx, "client/a.c", "int a;\n", C),
    (width, "client/a.c", "x" * 151, "x" * 150),
    (whitespace, "client/a.c", "int a; \n", "int a;\n"),
    (no_goto, "client/a.c", "goto out;\n", "/* goto */ int a;\n"),
    (no_dup, "client/a.c", "x = dup(3);\n", "x = fd_dup(3);\n"),
    (close_on_exec, "client/a.c", "pipe(p);\n", "pipe2(p, O_CLOEXEC);\n"),
    (layers, "fused/base/a.c", '#include "broker/mount.h"\n', '#include "base/fd.h"\n'),
    (pragma_once, "client/a.h", "int a;\n", "#pragma once\n"),
    (size, "client/a.c", "\n" * 901, "\n" * 900),
    (functions, "client/a.c", "int f(void) {\n" + "a;\n" * 81 + "}\n", "int f(void) {\n" + "a;\n" * 80 + "}\n"),
    (privilege, "fused/manager/a.c", "fsopen(x);\n", '"fsopen(x)";\n'),
    (placeholder, "client/a.c", "/* TO" + "DO */\n", "/* done */\n"),
    (workplace, "client/a.c", "/wo" + "rk/main\n", "/usr\n"),
]


def main():
    listed = subprocess.run(["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"], capture_output=True, check=True).stdout.decode().split("\0")
    texts = {}
    for path in filter(None, listed):
        try:
            with open(path, encoding="utf-8") as f:
                texts[path] = f.read()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            pass  # corpora are binary; a deleted file may still be listed
    failed = False
    for rule, path, bad, good in RULES:
        found = []
        if not list(rule(path, bad)) or list(rule(path, good)):
            found.append("the rule does not tell its own samples apart")
        for path, text in sorted(texts.items()):
            if "/corpus/" not in path:
                found += [f"{path}:{n}: {what}" for n, what in rule(path, text)]
        print(f"{'fail' if found else 'pass'} lint/{rule.__name__.replace('_', '-')}")
        for place in found[:25]:
            print("    " + place)
        failed |= bool(found)
    return failed


sys.exit(main())
