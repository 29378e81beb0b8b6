/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Programs: may this file be started as a server, and what else must be in its root. The dynamic loader itself is asked
 * for the libraries ("ld.so --list"), as only it knows; it maps files and runs nothing of them. */

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "policy/load.h"

#define LIST_MSEC 5000
#define LIST_MAX 65536

int check_program(const char *path, const char **ret_problem) {
        struct stat st;

        if (stat(path, &st) < 0)
                *ret_problem = errno == ENOENT
                                       ? "does not exist; install it"
                                       : "cannot be looked at (its directories must be searchable by everybody)";
        else if (!S_ISREG(st.st_mode) || !(st.st_mode & 0111))
                *ret_problem = "is not an executable file";
        else if (st.st_uid != 0 || (st.st_mode & 022))
                *ret_problem = "can be changed by somebody other than root; chown it to root, chmod go-w";
        else if (st.st_mode & (S_ISUID | S_ISGID))
                *ret_problem = "is set-user-ID or set-group-ID; a server has no use for that";
        else
                return 0;
        return -EINVAL;
}

/* The PT_INTERP of an ELF file, "" for a static program. */
static int read_interpreter(const char *path, char *buffer, size_t size) {
        _cleanup_fd_ int fd = -EBADF;
        ElfW(Ehdr) header;

        fd = RET_NERRNO(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY));
        if (fd < 0)
                return fd;
        if (pread(fd, &header, sizeof header, 0) != (ssize_t) sizeof header ||
            memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
                return -ENOEXEC; /* a script: its interpreter would have to be in the root as well */
        buffer[0] = 0;
        for (unsigned i = 0; i < header.e_phnum; i++) {
                ElfW(Phdr) program;
                if (pread(fd, &program, sizeof program, (off_t) (header.e_phoff + i * sizeof program)) !=
                    (ssize_t) sizeof program)
                        return -ENOEXEC;
                if (program.p_type != PT_INTERP)
                        continue;
                if (program.p_filesz == 0 || program.p_filesz > size ||
                    pread(fd, buffer, program.p_filesz, (off_t) program.p_offset) != (ssize_t) program.p_filesz ||
                    buffer[program.p_filesz - 1] != 0)
                        return -ENOEXEC;
                return 0;
        }
        return 0;
}

static int add_path(char ***list, size_t *n, const char *path, size_t length) {
        char **rows, *copy;

        for (size_t i = 0; i < *n; i++)
                if (strlen((*list)[i]) == length && memcmp((*list)[i], path, length) == 0)
                        return 0;
        copy = strndup(path, length);
        if (!copy)
                return -ENOMEM;
        rows = reallocarray(*list, *n + 1, sizeof *rows);
        if (!rows) {
                free(copy);
                return -ENOMEM;
        }
        *list = rows;
        rows[(*n)++] = copy;
        return 0;
}

/* Reads until the end of file, for at most LIST_MSEC in all. */
static ssize_t read_all(int fd, char *buffer, size_t size) {
        const uint64_t start = clock_nsec();
        size_t have = 0;

        while (have < size - 1) {
                struct pollfd p = {.fd = fd, .events = POLLIN};
                long spent = (long) ((clock_nsec() - start) / 1000000);
                if (spent >= LIST_MSEC || poll(&p, 1, (int) (LIST_MSEC - spent)) == 0)
                        return -ETIMEDOUT;
                ssize_t n = RET_NERRNO(read(fd, buffer + have, size - 1 - have));
                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return n;
                if (n == 0) {
                        buffer[have] = 0;
                        return (ssize_t) have;
                }
                have += (size_t) n;
        }
        return -EFBIG;
}

static int run_loader(const char *interpreter, const char *path, char *output, size_t size) {
        char *const arguments[] = {(char *) interpreter, (char *) "--list", (char *) path, NULL};
        char *const environment[] = {NULL};
        _cleanup_fd_ int read_end = -EBADF, write_end = -EBADF;
        posix_spawn_file_actions_t actions;
        int fds[2], status, r;
        ssize_t n;
        pid_t pid;

        r = RET_NERRNO(pipe2(fds, O_CLOEXEC));
        if (r < 0)
                return r;
        read_end = fds[0];
        write_end = fds[1];
        r = -posix_spawn_file_actions_init(&actions);
        if (r < 0)
                return r;
        r = -posix_spawn_file_actions_adddup2(&actions, write_end, STDOUT_FILENO);
        if (r >= 0)
                r = -posix_spawn(&pid, interpreter, &actions, NULL, arguments, environment);
        (void) posix_spawn_file_actions_destroy(&actions);
        if (r < 0)
                return r;
        write_end = fd_close(write_end);
        n = read_all(read_end, output, size);
        if (n < 0)
                (void) kill(pid, SIGKILL);
        if (waitpid(pid, &status, 0) < 0)
                return -errno;
        if (n < 0)
                return (int) n;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ELIBACC;
}

/* The C library opens libgcc_s by itself, when a thread is cancelled or ends (libfuse 2 does that at each unmount), and aborts the
 * program if it is not there. It stands beside it. */
static int add_unwinder(char ***list, size_t *n, const char *libc, size_t length) {
        static const char name[] = "/libgcc_s.so.1", libc_name[] = "/libc.so.6";
        char path[4096];

        if (length < sizeof libc_name || memcmp(libc + length - strlen(libc_name), libc_name, strlen(libc_name)) != 0)
                return 0;
        length -= strlen(libc_name);
        if (snprintf(path, sizeof path, "%.*s%s", (int) length, libc, name) >= (int) sizeof path || access(path, R_OK) < 0)
                return 0;
        return add_path(list, n, path, strlen(path));
}

int list_libraries(const char *path, char ***ret, size_t *ret_n) {
        char interpreter[256], *output _cleanup_free_ = malloc(LIST_MAX), *line, *cursor;
        int r;

        *ret = NULL;
        *ret_n = 0;
        if (!output)
                return -ENOMEM;
        r = add_path(ret, ret_n, path, strlen(path));
        if (r < 0)
                return r;
        r = read_interpreter(path, interpreter, sizeof interpreter);
        if (r < 0 || !interpreter[0])
                return r;
        r = add_path(ret, ret_n, interpreter, strlen(interpreter));
        if (r < 0)
                return r;
        r = run_loader(interpreter, path, output, LIST_MAX);
        if (r < 0)
                return r;
        /* "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)": the path is the word that begins with a slash, if
         * there is one */
        for (cursor = output; (line = strsep(&cursor, "\n"));) {
                const char *arrow = strstr(line, "=> ");
                const char *file = arrow ? arrow + 3 : line + strspn(line, "\t ");
                if (*file != '/')
                        continue;
                size_t length = strcspn(file, " \t(");
                r = add_path(ret, ret_n, file, length);
                if (r >= 0)
                        r = add_unwinder(ret, ret_n, file, length);
                if (r < 0)
                        return r;
        }
        /* So that the dynamic loader finds them where a configured directory is all that leads there. */
        return access("/etc/ld.so.cache", R_OK) == 0
                       ? add_path(ret, ret_n, "/etc/ld.so.cache", strlen("/etc/ld.so.cache"))
                       : 0;
}
