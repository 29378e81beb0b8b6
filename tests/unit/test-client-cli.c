/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl: command lines, exit statuses, tables and JSON, and what it sends, beside a scripted supervisor. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <linux/close_range.h>
#include <signal.h>

#include "base/kernel.h"
#include "client-server.h"
#include "client/fusectl.h"

#define ARGUMENTS_MAX 16

typedef struct World {
        char directory[32], image[64], mountpoint[64];
        Server *server;
        char *out, *err; /* of the last run */
} World;

static int setup(void **state) {
        World *w = calloc(1, sizeof *w);
        int fd;

        strcpy(w->directory, "/tmp/fused-cli.XXXXXX");
        assert_non_null(mkdtemp(w->directory));
        assert_int_equal(chmod(w->directory, 0755), 0);
        snprintf(w->image, sizeof w->image, "%s/image", w->directory);
        snprintf(w->mountpoint, sizeof w->mountpoint, "%s/mnt", w->directory);
        fd = open(w->image, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(mkdir(w->mountpoint, 0755), 0);
        w->server = server_new();
        *state = w;
        return 0;
}

static int teardown(void **state) {
        World *w = *state;

        unlink(w->image);
        rmdir(w->mountpoint);
        assert_int_equal(rmdir(w->directory), 0);
        server_free(w->server);
        free(w->out);
        free(w->err);
        free(w);
        return 0;
}

static size_t count_fds(void) {
        DIR *dir = opendir("/proc/self/fd");
        size_t n = 0;

        assert_non_null(dir);
        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

/* Runs "fusectl ARGUMENTS" split at blanks; "@image" and "@mnt" stand for the test's own. Returns the exit status. */
static int run(World *w, const char *line) {
        char copy[512], *cursor = copy, *word, *argv[ARGUMENTS_MAX] = {(char *) "fusectl"};
        FILE *real_out = stdout, *real_err = stderr;
        size_t out_size, err_size, fds = count_fds();
        Context context = {0};
        int argc = 1, status, fd;
        pid_t pid;

        snprintf(copy, sizeof copy, "%s", line);
        while ((word = strsep(&cursor, " ")))
                if (*word) {
                        assert_true(argc < ARGUMENTS_MAX - 1);
                        argv[argc++] = strcmp(word, "@image") == 0 ? w->image
                                       : strcmp(word, "@mnt") == 0 ? w->mountpoint
                                                                   : word;
                }
        argv[argc] = NULL;
        *w->server->calls = 0;
        fd = server_start(w->server, &pid);
        assert_int_equal(fused_client_new_from_fd(fd, &context.client, NULL), 0);
        free(w->out);
        free(w->err);
        stdout = open_memstream(&w->out, &out_size);
        stderr = open_memstream(&w->err, &err_size);
        status = fusectl_run(&context, argc, argv);
        fclose(stdout);
        fclose(stderr);
        stdout = real_out;
        stderr = real_err;
        fused_client_free(context.client);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody else */
        assert_int_equal(count_fds(), fds);
        return status;
}

static void assert_has(const char *text, const char *part) {
        if (!strstr(text, part))
                fail_msg("'%s' is not in: %s", part, text);
}

static void assert_has_not(const char *text, const char *part) {
        if (strstr(text, part))
                fail_msg("'%s' is in: %s", part, text);
}

/* ---- command lines ----------------------------------------------------------------------------------------------- */

static void test_usage(void **state) {
        static const char *const lines[] = {
                "",
                "nonsense",
                "--nonsense list",
                "--runtime-directory",
                "mount",
                "mount ext4",
                "mount ext4 @image",
                "mount ext4 @image @mnt more",
                "mount ext4 @image @mnt -x",
                "mount ext4 @image @mnt -o",
                "mount ext4 @image --detached",
                "mount ext4 @image --detached --",
                "mount ext4 @image @mnt -- true",
                "mount ext4 @image @mnt --detached -- true",
                "mount ext4 @image @mnt --",
                "umount",
                "umount 1 2",
                "umount --nonsense 1",
                "umount --lazy",
                "status",
                "status 1 2",
                "status --lazy",
                "abort",
                "abort 1 2",
                "abort --lazy",
                "list x",
                "list --lazy",
                "types x",
                "doctor x",
                "policy",
                "policy explain",
                "policy explain ext4",
                "policy nonsense ext4 @image",
                "policy explain ext4 @image more",
                "policy explain ext4 @image --user",
                "policy explain ext4 @image -x",
                "mount ext4 @image @mnt -o slot.a=@,slot.b=@,slot.c=@,slot.d=@,slot.e=@",
        };
        World *w = *state;

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                bool slots = strstr(lines[i], "slot.");
                int status = run(w, lines[i]);
                /* The first slot is looked for before the fifth is counted. */
                if (status != (slots ? EXIT_FAILED : EXIT_USAGE))
                        fail_msg("status %d of: %s", status, lines[i]);
                assert_has(w->err, "usectl");
                assert_string_equal(w->out, "");
                assert_has_not(w->server->calls, "Mount");
        }
}

static void test_help(void **state) {
        static const char *const commands[] = {"mount", "umount", "list",   "status",
                                               "abort", "types",  "doctor", "policy"};
        World *w = *state;
        char line[64];

        assert_int_equal(run(w, "--help"), EXIT_DONE);
        assert_int_equal(run(w, "-h"), EXIT_DONE);
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                assert_has(w->out, commands[i]);
        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                snprintf(line, sizeof line, "%s --help", commands[i]);
                assert_int_equal(run(w, line), EXIT_DONE);
                assert_has(w->out, commands[i]);
                assert_string_equal(w->err, "");
        }
        assert_int_equal(run(w, "--version"), EXIT_DONE);
        assert_has(w->out, "fusectl 0.");
        assert_string_equal(w->server->calls, "");
}

/* ---- mount ------------------------------------------------------------------------------------------------------- */

static void test_mount(void **state) {
        World *w = *state;
        char expected[512];

        assert_int_equal(run(w, "mount ext4 @image @mnt"), EXIT_DONE);
        assert_string_equal(w->out, "7\n");
        assert_string_equal(w->err, "");
        snprintf(expected, sizeof expected,
                 "ListTypes\nMount ext4 (source=file rw,source-kind=file,source-name=%s,mountpoint=directory path,"
                 "mountpoint-name=%s)\n",
                 w->image, w->mountpoint);
        assert_string_equal(w->server->calls, expected);
        assert_int_equal(run(w, "--json mount -o noatime,,ro -o allow_other ext4 @image @mnt"), EXIT_DONE);
        assert_string_equal(w->out, "{ \"id\": 7 }\n");
        assert_has(w->server->calls, "source=file ro,");
        assert_has(w->server->calls, "options=(noatime,ro,allow_other))");
        w->server->read_only = true; /* the type is: then the file need not be writable */
        assert_int_equal(run(w, "mount ext4 @image @mnt"), EXIT_DONE);
        assert_has(w->server->calls, "source=file ro,");
}

static void test_mount_sources(void **state) {
        World *w = *state;
        char line[256], fifo[64];

        assert_int_equal(run(w, "mount ext4 none @mnt"), EXIT_DONE);
        assert_has_not(w->server->calls, "source");
        assert_int_equal(run(w, "mount mirror @mnt @mnt"), EXIT_DONE);
        assert_has(w->server->calls, "source=directory ro,source-kind=tree,");
        assert_int_equal(run(w, "mount ext4 /nonexistent @mnt"), EXIT_FAILED);
        assert_has(w->err, "/nonexistent");
        assert_int_equal(run(w, "mount ext4 @image /nonexistent"), EXIT_FAILED);
        assert_has(w->err, "/nonexistent");
        assert_int_equal(run(w, "mount ext4 /dev/null @mnt"), EXIT_FAILED);
        assert_has(w->err, "/dev/null is not");
        snprintf(fifo, sizeof fifo, "%s/fifo", w->directory);
        assert_int_equal(mkfifo(fifo, 0644), 0);
        snprintf(line, sizeof line, "mount ext4 %s @mnt", fifo);
        alarm(5); /* must not wait for a writer */
        assert_int_equal(run(w, line), EXIT_FAILED);
        alarm(0);
        assert_has(w->err, "is not a file, a directory or a block device");
        unlink(fifo);
        assert_has_not(w->server->calls, "Mount");
}

static void test_mount_device(void **state) {
        World *w = *state;
        char line[512], path[300] = "";
        DIR *dir = opendir("/dev");
        struct stat st;

        assert_non_null(dir);
        for (struct dirent *entry; !*path && (entry = readdir(dir));)
                if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISBLK(st.st_mode))
                        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        closedir(dir);
        if (!*path)
                skip();
        snprintf(line, sizeof line, "mount ext4 %s @mnt", path);
        assert_int_equal(run(w, line), EXIT_DONE);
        assert_has(w->server->calls, "source=device path,source-kind=device,");
}

static void test_mount_slots(void **state) {
        World *w = *state;
        char line[512];

        snprintf(line, sizeof line, "mount ext4 @image @mnt -o noatime,slot.journal=%s,slot.tree=%s,sync", w->image,
                 w->mountpoint);
        assert_int_equal(run(w, line), EXIT_DONE);
        assert_has(w->server->calls, "slots=(journal=file rw,tree=directory ro),slot-kinds=(journal=file,tree=tree),");
        assert_has(w->server->calls, "options=(noatime,sync))");
        size_t n = (size_t) snprintf(line, sizeof line, "mount ext4 @image @mnt -o slot.a=%s", w->image);
        for (char name = 'b'; name <= 'i'; name++)
                n += (size_t) snprintf(line + n, sizeof line - n, ",slot.%c=%s", name, w->image);
        assert_true(n < sizeof line);
        assert_int_equal(run(w, line), EXIT_USAGE);
        assert_has_not(w->server->calls, "Mount");
}

static void test_mount_read_only_hint(void **state) {
        World *w = *state;

        assert_int_equal(chmod(w->image, 0444), 0);
        if (geteuid() == 0)
                assert_int_equal(seteuid(65534), 0);
        int writing = run(w, "mount ext4 @image @mnt");
        char *message = strdup(w->err);
        int reading = run(w, "mount ext4 @image @mnt -o ro");
        if (getuid() == 0)
                assert_int_equal(seteuid(0), 0);
        assert_int_equal(writing, EXIT_FAILED);
        assert_has(message, "-o ro");
        assert_int_equal(reading, EXIT_DONE);
        free(message);
}

/* Runs fusectl in a child, which it may become another program in; returns its exit status. */
static int run_exec(World *w, char **argv, int argc, char *output, size_t size) {
        int out[2], status, fd;
        pid_t pid, server_pid;
        ssize_t n;

        *w->server->calls = 0;
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        fd = server_start(w->server, &server_pid);
        pid = fork();
        if (pid == 0) {
                Context context = {0};
                assert(dup2(out[1], STDOUT_FILENO) >= 0 && dup2(out[1], STDERR_FILENO) >= 0);
                assert(close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0); /* what we got from whoever runs the tests */
                assert(fused_client_new_from_fd(fd, &context.client, NULL) == 0);
                _exit(fusectl_run(&context, argc, argv));
        }
        close(fd);
        close(out[1]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        n = read(out[0], output, size - 1);
        assert_true(n > 0);
        output[n] = 0;
        close(out[0]);
        assert_int_equal(waitpid(server_pid, NULL, 0), server_pid);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_mount_detached(void **state) {
        char script[] = "readlink /proc/self/fd/3; echo $#; ls /proc/$$/fd | tr '\\n' ' '; exit 5", output[512];
        World *w = *state;
        char *argv[] = {(char *) "fusectl",
                        (char *) "mount",
                        (char *) "ext4",
                        w->image,
                        (char *) "--detached",
                        (char *) "-o",
                        (char *) "ro",
                        (char *) "--",
                        (char *) "sh",
                        (char *) "-c",
                        script,
                        (char *) "sh",
                        (char *) "-o",
                        (char *) "--detached",
                        NULL};

        assert_int_equal(run_exec(w, argv, ELEMENTSOF(argv) - 1, output, sizeof output),
                         5); /* the command's own status */
        /* No id before it; the command's options are its own; nothing else of ours is passed on. */
        assert_string_equal(output, "/proc\n2\n0 1 2 3 ");
        assert_has_not(w->server->calls, "mountpoint");
        assert_has(w->server->calls, "source=file ro");
        assert_has(w->server->calls, "options=(ro))");
}

static void test_detached_command_missing(void **state) {
        World *w = *state;
        char *argv[] = {(char *) "fusectl",
                        (char *) "mount",
                        (char *) "ext4",
                        w->image,
                        (char *) "--detached",
                        (char *) "--",
                        (char *) "/nonexistent/command",
                        NULL},
             output[512];

        assert_int_equal(run_exec(w, argv, ELEMENTSOF(argv) - 1, output, sizeof output), EXIT_FAILED);
        assert_has(output, "/nonexistent/command");
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static void test_errors(void **state) {
        static const struct {
                const char *name, *message;
                int status;
        } rows[] = {
                {"org.fused1.Error.Refused", "[no-rule] nobody: by rule ext4.conf:1: ask", EXIT_REFUSED},
                {"org.fused1.Error.NoSuchMount", "no mount 7", EXIT_NO_SUCH_MOUNT},
                {"org.fused1.Error.Busy", "in use", EXIT_FAILED},
                {"org.fused1.Error.ServerFailed", "exit status 1: bad \033[2Jmagic", EXIT_FAILED},
                {"org.fused1.Error.Failed", "fsopen", EXIT_FAILED},
                {"org.freedesktop.DBus.Error.InvalidArgs", "what?", EXIT_USAGE},
                {"org.freedesktop.DBus.Error.LimitsExceeded", "too many", EXIT_REFUSED},
                {"org.freedesktop.DBus.Error.AccessDenied", "only root", EXIT_REFUSED},
                {"org.example.Unknown", "something", EXIT_FAILED},
        };
        static const char *const lines[] = {"mount ext4 @image @mnt", "umount 7", "abort 7", "status 7",
                                            "policy explain ext4 @image"};
        World *w = *state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (size_t j = 0; j < ELEMENTSOF(lines); j++) {
                        strcpy(w->server->error_name, rows[i].name);
                        strcpy(w->server->error_message, rows[i].message);
                        assert_int_equal(run(w, lines[j]), rows[i].status);
                        assert_string_equal(w->out, "");
                        assert_int_equal(strchr(w->err, '\n')[1], 0); /* one line */
                        assert_has_not(w->err, "\033");
                        if (!strchr(rows[i].message, '\033'))
                                assert_has(w->err, rows[i].message);
                }
}

static void test_hang_up(void **state) {
        World *w = *state;

        w->server->hang_up = true;
        assert_int_equal(run(w, "list"), EXIT_FAILED);
        assert_has(w->err, "does not answer");
}

static void test_not_running(void **state) {
        World *w = *state;
        FusedError error = {0};
        FusedClient *client = NULL;
        char path[300];

        assert_int_equal(fused_client_new(w->directory, &client, &error), -ENOENT);
        assert_int_equal(error.kind, FUSED_ERROR_FAILED);
        assert_has(error.message, "is fused running?");
        fused_error_done(&error);
        memset(path, 'x', sizeof path - 1);
        path[sizeof path - 1] = 0;
        assert_int_equal(fused_client_new(path, &client, &error), -ENAMETOOLONG);
        assert_int_equal(error.kind, FUSED_ERROR_USAGE);
        fused_error_done(&error);
        assert_null(client);
}

/* ---- umount, abort, and what they name --------------------------------------------------------------------------- */

static void test_umount(void **state) {
        World *w = *state;

        assert_int_equal(run(w, "umount 7"), EXIT_DONE);
        assert_string_equal(w->server->calls, "Unmount 7 no\n");
        assert_int_equal(run(w, "umount --lazy 7"), EXIT_DONE);
        assert_string_equal(w->server->calls, "Unmount 7 yes\n");
        assert_int_equal(run(w, "umount 18446744073709551615 --lazy"), EXIT_DONE);
        assert_string_equal(w->server->calls, "Unmount 18446744073709551615 yes\n");
        assert_int_equal(run(w, "abort 7"), EXIT_DONE);
        assert_string_equal(w->server->calls, "Abort 7\n");
        assert_string_equal(w->out, "");
        /* too large for an id, and no file */
        assert_int_equal(run(w, "umount 18446744073709551616"), EXIT_NO_SUCH_MOUNT);
        assert_int_equal(run(w, "umount 7x"), EXIT_NO_SUCH_MOUNT);
        assert_int_equal(run(w, "umount /nonexistent"), EXIT_NO_SUCH_MOUNT);
        assert_has(w->err, "/nonexistent");
}

static void test_resolve_unique(void **state) {
        World *w = *state;
        struct statx sx;

        assert_int_equal(statx(AT_FDCWD, "/proc", 0, STATX_MNT_ID_UNIQUE, &sx), 0);
        if (!(sx.stx_mask & STATX_MNT_ID_UNIQUE))
                skip();
        w->server->kernel_mount_id = sx.stx_mnt_id;
        w->server->kernel_mount_id_unique = true;
        assert_int_equal(run(w, "umount /proc"), EXIT_DONE);
        assert_string_equal(w->server->calls, "ListMounts\nUnmount 7 no\n");
        assert_int_equal(run(w, "abort /tmp/../proc"), EXIT_DONE);
        assert_int_equal(run(w, "status @mnt"), EXIT_NO_SUCH_MOUNT);
        assert_string_equal(w->server->calls, "ListMounts\n");
        w->server->no_mounts = true;
        assert_int_equal(run(w, "umount /proc"), EXIT_NO_SUCH_MOUNT);
}

static void test_resolve_old(void **state) {
        World *w = *state;
        struct statx sx;

        assert_int_equal(statx(AT_FDCWD, "/proc", 0, STATX_MNT_ID, &sx), 0);
        assert_true(sx.stx_mask & STATX_MNT_ID);
        w->server->kernel_mount_id = sx.stx_mnt_id;
        assert_int_equal(run(w, "umount /proc"), EXIT_DONE);
        assert_string_equal(w->server->calls, "ListMounts\nUnmount 7 no\n");
        w->server->kernel_mount_id_unique = true; /* the same number means another mount then */
        assert_int_equal(run(w, "umount /proc"), EXIT_NO_SUCH_MOUNT);
        w->server->kernel_mount_id = 0; /* not mounted yet */
        w->server->kernel_mount_id_unique = false;
        assert_int_equal(run(w, "umount /proc"), EXIT_NO_SUCH_MOUNT);
}

/* ---- tables and JSON --------------------------------------------------------------------------------------------- */

static void test_list(void **state) {
        World *w = *state;

        assert_int_equal(run(w, "list"), EXIT_DONE);
        assert_string_equal(w->out, "ID  TYPE  STATE  USER  PID   UPTIME  SOURCE         MOUNTPOINT\n"
                                    "7   ext4  live   root  4711  1h 2m   /images/a.img  /mnt/a\n");
        strcpy(w->server->source, "a\x1b[31m\n\xc2\x9b" "31m\xc3\xa4"); /* ESC, newline, CSI of C1, and an umlaut */
        assert_int_equal(run(w, "list"), EXIT_DONE);
        assert_has(w->out, " a\\x1b[31m\\x0a\\xc2\\x9b31m\xc3\xa4 ");
        w->server->no_mounts = true;
        assert_int_equal(run(w, "list"), EXIT_DONE);
        assert_string_equal(w->out, "ID  TYPE  STATE  USER  PID  UPTIME  SOURCE  MOUNTPOINT\n");
        assert_int_equal(run(w, "--json list"), EXIT_DONE);
        assert_string_equal(w->out, "[]\n");
}

static json_object *parse(const char *text) {
        json_object *object = json_tokener_parse(text);

        assert_non_null(object);
        return object;
}

static void test_list_json(void **state) {
        World *w = *state;

        assert_int_equal(run(w, "--json list"), EXIT_DONE);
        json_object *mounts = parse(w->out), *mount = json_object_array_get_idx(mounts, 0);
        assert_int_equal(json_object_array_length(mounts), 1);
        assert_int_equal(number_of(mount, "id"), 7);
        assert_string_equal(text_of(mount, "source"), "/images/a.img");
        assert_int_equal(number_of(mount, "uptime-usec"), 3725 * USEC_PER_SEC);
        assert_false(is_true(mount, "detached"));
        assert_true(number_of(json_object_object_get(mount, "limits"), "fds") == UINT64_MAX);
        assert_string_equal(text_of(json_object_object_get(mount, "slots"), "source"), "file");
        assert_int_equal(json_object_array_length(json_object_object_get(mount, "log")), 2);
        json_object_put(mounts);
}

static void test_status(void **state) {
        World *w = *state;

        assert_int_equal(run(w, "status 7"), EXIT_DONE);
        assert_string_equal(w->server->calls, "GetMount 7\n");
        assert_has(w->out, "server: pid 4711, uid ");
        assert_has(w->out, "limits: memory=1024 fds=none start=1.5s\n");
        assert_has(w->out, "slots: source=file\n");
        assert_has(w->out, "device: -\n");
        assert_has(w->out, "  first line\n  second \\x1b[31m\n");
        assert_int_equal(run(w, "--json status 7"), EXIT_DONE);
        json_object *mount = parse(w->out);
        assert_int_equal(number_of(mount, "id"), 7);
        json_object_put(mount);
}

static void test_types(void **state) {
        World *w = *state;

        assert_int_equal(run(w, "types"), EXIT_DONE);
        assert_has(w->out, "  fd         source: file device  ");
        assert_has(w->out, "  source, journal: device; [d2 .. d4: device]; [log: file]; key: file  many slots\n");
        assert_has(w->out, "DISABLED: broken.conf:3: no such key\n");
        assert_int_equal(run(w, "--json types"), EXIT_DONE);
        json_object *types = parse(w->out);
        assert_int_equal(json_object_array_length(types), 3);
        json_object_put(types);
}

static void test_explain(void **state) {
        World *w = *state;

        assert_int_equal(run(w, "policy explain ext4 @image -o noatime"), EXIT_DONE);
        assert_string_equal(w->server->calls,
                            "ExplainPolicy ext4 (source=file ro,source-kind=file,options=(noatime))\n");
        assert_has(w->out, "allowed: nosuid,nodev\n  by: ext4.conf:12\n");
        char line[600];
        snprintf(line, sizeof line, "policy explain ext4 @image -o noatime,slot.journal=%s,sync", w->image);
        assert_int_equal(run(w, line), EXIT_DONE);
        assert_has(w->server->calls, "slots=(journal=file ro),slot-kinds=(journal=file),options=(noatime,sync))");
        assert_has(w->out, "limits: mounts=none\n");
        w->server->refused = true;
        assert_int_equal(run(w, "policy explain ext4 none --user root"), EXIT_REFUSED);
        assert_has(w->server->calls, "ExplainPolicy ext4 (uid=0,gid=0,groups=(0");
        assert_has(w->out,
                   "refused: no rule\n  by: ext4.conf:12\n  word: no-rule\n  what would help: ask the administrator\n");
        assert_int_equal(run(w, "policy explain ext4 none --user 4242424"), EXIT_REFUSED);
        assert_has(w->server->calls, "(uid=4242424,gid=4242424,groups=())");
        assert_int_equal(run(w, "policy explain ext4 none --user no-such-user"), EXIT_FAILED);
        assert_has(w->err, "no-such-user");
        assert_int_equal(run(w, "--json policy explain ext4 none"), EXIT_REFUSED);
        json_object *answer = parse(w->out);
        assert_string_equal(text_of(answer, "refusal"), "no-rule");
        json_object_put(answer);
}

/* What the asker may not open is asked about by O_PATH. */
static void test_explain_unreadable(void **state) {
        World *w = *state;

        assert_int_equal(chmod(w->image, 0000), 0);
        if (geteuid() == 0)
                assert_int_equal(seteuid(65534), 0);
        int status = run(w, "policy explain ext4 @image");
        if (getuid() == 0)
                assert_int_equal(seteuid(0), 0);
        assert_int_equal(status, EXIT_DONE);
        assert_has(w->server->calls, "source=file path,source-kind=file");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_usage),
                TEST(test_help),
                TEST(test_mount),
                TEST(test_mount_sources),
                TEST(test_mount_device),
                TEST(test_mount_slots),
                TEST(test_mount_read_only_hint),
                TEST(test_mount_detached),
                TEST(test_detached_command_missing),
                TEST(test_errors),
                TEST(test_hang_up),
                TEST(test_not_running),
                TEST(test_umount),
                TEST(test_resolve_unique),
                TEST(test_resolve_old),
                TEST(test_list),
                TEST(test_list_json),
                TEST(test_status),
                TEST(test_types),
                TEST(test_explain),
                TEST(test_explain_unreadable),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
