# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every option, key, bus member, refusal and subcommand that the sources know is in the manual.

Each row: what it is, where it is said (glob, regular expression with one group), which page must have it, and how many
there are at least, so that an expression that no longer matches its source is a failure and not a success."""
import glob
import re
import sys

SERVER_OPTION = r'^\s*\{"([a-z_]+)(?:=%\w+)?", offsetof'
ROWS = [
    ("option of fused", "fused/broker/main.c", r'\{"([a-z-]+)", (?:no|required|optional)_argument', "man/fused.8.scd", "--{}", 5),
    ("option of fusectl", "client/fusectl*.c", r'\{"([a-z-]+)", (?:no|required|optional)_argument', "man/fusectl.1.scd", "--{}", 6),
    ("option of fusermount3", "client/fusermount3.c", r'\{"([a-z-]+)", (?:no|required|optional)_argument', "man/fused-fusermount3.1.scd", "--{}", 8),
    ("subcommand", "client/*.c", r'^\s*\{"([a-z]+)",.*(?:command|fusectl|verb|run)_[a-z_]+', "man/fusectl.1.scd", "{}", 8),
    ("bus member", "fused/manager/*.c", r'SD_BUS_(?:METHOD|PROPERTY|SIGNAL)\w*\(\s*"(\w+)"', "man/org.fused1.5.scd", "*{}*", 11),
    ("bus error", "fused/manager/*.[ch]", r'"(org\.fused1\.Error\.\w+)"', "man/org.fused1.5.scd", "*{}*", 5),
    ("key of a mount", "fused/manager/bus-mount.c", r'^\s*\{"([a-z-]+)", append_\w+\}', "man/org.fused1.5.scd", "*{}*", 25),
    ("property of Mount", "fused/manager/request.c", r'^\s*\{"([a-z-]+)", "(?:h|s|as|u|b|au|a\{ss\}|a\{sh\})",', "man/org.fused1.5.scd", "*{}*", 6),
    ("refusal", "policy/authorize.c", r'\[REFUSAL_(?!NONE)\w+\] = \{"([a-z-]+)"', "man/org.fused1.5.scd", "{}", 20),
    ("mount option", "policy/options.c", r'\{\.name = "([a-z_]+)=?"', "man/fused-types.5.scd", "*{}", 15),
    ("key of a type", "policy/load-keys.c", r'[({]"(?:Type|Slot|Sandbox|Deadlines|Allow)", "(\w+)"', "man/fused-types.5.scd", "*{}", 18),
    ("limit of a type", "policy/load-keys.c", r'\("Limits", "(\w+)", \w+, IN_TYPE', "man/fused-types.5.scd", "*{}", 5),
    ("key of fused.conf", "policy/load-keys.c", r'[({]"(?:Supervisor|User)", "(\w+)"', "man/fused.conf.5.scd", "*{}", 6),
    ("key of a program", "policy/load-keys.c", r'[({]"Program", "(\w+)"', "man/fused.conf.5.scd", "*{}=*", 4),
    ("function of fused-map.h", "server/fused-map.h", r'^FUSE_SERVICE_API [^;(]*?(fused_\w+)\(', "man/fused-map.3.scd", "*{}*", 27),
    ("callback of fused-map.h", "server/fused-map.h", r'^\s+\w+ \(\*(\w+)\)\(void \*userdata', "man/fused-map.3.scd", "*{}*(", 7),
    ("key of struct fused_map_config", "server/fused-map.h", r'^        (?:bool|unsigned|uint\d\d_t) (block_size|read_only|no_writeback|threads|\w+_bytes);',
     "man/fused-map.3.scd", "*{}*", 6),
    ("environment", "fused/[blmw]*/**/*.c", r'getenv\("(\w+)"\)', "man/fused.8.scd", "*{}*", 2),
    ("option of fused-mirror", "server/mirror/main.c", SERVER_OPTION, "man/fused-mirror.8.scd", "\n*{}", 3),
    ("option of fused-stripe-server", "server/stripe/main.c", SERVER_OPTION, "man/fused-stripe.1.scd", "\n*{}", 2),
    ("option of fused-ext4-map", "server/ext4-map/main.c", SERVER_OPTION, "man/fused-ext4-map.8.scd", "{}", 2),
    ("type key in a shipped file", "policy/types/*.conf*", r"^(\w+)=", "man/fused-types.5.scd", "*{}", 8),
]


def main():
    bad = 0
    for what, sources, pattern, page, form, least in ROWS:
        names = set()
        for path in glob.glob(sources, recursive=True):
            with open(path, encoding="utf-8") as f:
                names |= set(re.findall(pattern, f.read(), re.M))
        try:
            with open(page, encoding="utf-8") as f:
                text = f.read().replace("\\", "")
        except FileNotFoundError:
            text = ""
        found = [f"{name}: not in {page}" for name in sorted(names) if form.format(name) not in text]
        if len(names) < least:
            found.append(f"only {len(names)} found in {sources}, expected {least} or more: {sorted(names)}")
        print(f"{'fail' if found else 'pass'} lint/man: {what} ({len(names)})")
        for line in found:
            print("    " + line)
        bad += bool(found)
    return bad > 0


sys.exit(main())
