/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs the escape attempts under both hand-overs and both filters, and compares with rows.h. Needs root.
 * Usage: test-escape PROGRAM service|fd open|shipped; $FUSED_AGENT and $FUSED_POLICY name the programs of this build. */

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "rows.h"

static const struct {
        const char *name;
        Expectation expected[2]; /* by HarnessFilter */
} rows[] = {
#define ROW(name, shipped, open) {#name, {[HARNESS_FILTER_OPEN] = open, [HARNESS_FILTER_SHIPPED] = shipped}},
        ESCAPE_ROWS(ROW)
#undef ROW
};

/* The line "NAME: ..." of the output; NULL if there is none. */
static const char *find_answer(const char *output, const char *name) {
        size_t length = strlen(name);

        for (const char *line = output; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (strncmp(line, name, length) == 0 && strncmp(line + length, ": ", 2) == 0)
                        return line + length + 2;
        return NULL;
}

static bool is_word(const char *text, const char *word) {
        return text && strncmp(text, word, strlen(word)) == 0;
}

static unsigned compare(const char *output, HarnessFilter filter) {
        unsigned wrong = 0;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const char *answer = find_answer(output, rows[i].name);
                bool denied = is_word(answer, "denied "), allowed = is_word(answer, "allowed");
                bool ok = false;
                switch (rows[i].expected[filter]) {
                case DENIED:
                        ok = denied;
                        break;
                case ALLOWED:
                        ok = allowed;
                        break;
                case EITHER:
                        ok = denied || allowed;
                        break;
                }
                if (!ok) {
                        printf("WRONG %s: %.*s\n", rows[i].name, answer ? (int) strcspn(answer, "\n") : 9, answer ?: "no answer");
                        wrong++;
                }
        }
        return wrong;
}

static unsigned compare_identity(const char *output, PolicyHandOver hand_over) {
        char expected[256];
        const char *identity = find_answer(output, "identity");

        (void) snprintf(expected, sizeof expected,
                        "pid=%d uid=%u euid=%u gid=%u groups=0 effective=000000000 permitted=000000000 bounding=0 "
                        "no_new_privs=1 seccomp=2 dumpable=1",
                        hand_over == POLICY_HAND_OVER_FD ? 2 : 1, HARNESS_UID, HARNESS_UID, HARNESS_UID);
        if (identity && strncmp(identity, expected, strlen(expected)) == 0)
                return 0;
        printf("WRONG identity, expected: %s\n", expected);
        return 1;
}

/* Somebody outside who must not be reached: if this socket could not be connected to at all, the row would prove
 * nothing. */
static int listen_abstract(char *name, size_t size) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        socklen_t length;
        int fd, other;

        (void) snprintf(name, size, "fused-escape-%d", getpid());
        memcpy(address.sun_path + 1, name, strlen(name));
        length = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + strlen(name) + 2);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || other < 0 || bind(fd, (struct sockaddr *) &address, length) < 0 || listen(fd, 5) < 0 ||
            connect(other, (struct sockaddr *) &address, length) < 0)
                err(1, "abstract socket");
        (void) close(other);
        return fd;
}

int main(int argc, char **argv) {
        static char output[HARNESS_OUTPUT_MAX];
        PolicyHandOver hand_over;
        HarnessFilter filter;
        HarnessRun run;
        char name[64];
        unsigned wrong;
        int status, inherited;

        if (argc != 4)
                errx(2, "usage: test-escape PROGRAM service|fd open|shipped");
        harness_need_root();
        hand_over = strcmp(argv[2], "fd") == 0 ? POLICY_HAND_OVER_FD : POLICY_HAND_OVER_SERVICE;
        filter = strcmp(argv[3], "shipped") == 0 ? HARNESS_FILTER_SHIPPED : HARNESS_FILTER_OPEN;
        (void) listen_abstract(name, sizeof name);
        inherited = open("/etc/passwd", O_RDONLY); /* not close-on-exec: what a careless broker would leave open */
        if (inherited < 0)
                err(1, "/etc/passwd");
        harness_begin(&run, argv[1], hand_over, filter);
        harness_file(&run, "/lib64/ld-linux-x86-64.so.2");
        harness_slot(&run, "empty", -EBADF, false, false);
        harness_argument(&run, name);
        harness_start(&run);
        status = harness_finish(&run, output, sizeof output, 60);
        printf("%s", output);
        wrong = compare(output, filter) + compare_identity(output, hand_over);
        if (status != 0 || !strstr(output, "\nend\n")) {
                printf("WRONG it ended with status %#x\n", status);
                wrong++;
        }
        harness_end(&run);
        printf("%zu rows, %u wrong\n", ELEMENTSOF(rows), wrong);
        return wrong > 0;
}
