/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* race-NAME SECONDS: a server from its main() on, on a real mount with several threads, and processes that use the same few files of it at the
 * same time. One that maps has a clone of the device for each thread, and a small cache that shrinks each second as if memory were
 * short; fused-mirror, which does not map, may have few files open. What comes back is not looked at (tests/soak does): this is for the thread
 * sanitizer, see tests/tsan/run. Needs root; everything is in a mount namespace of its own. RACE_MKFS: other words for mkfs.ext4. */

#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <errno.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "map/pressure.h"
#include "unit/lone-server.h"

#define CLIENTS 5U
#define FILES 6U
#define FILE_MAX (2U << 20)
#define DATA_MAX (256U << 10)
#define BLOCK 4096U
#define HANG_SECONDS 20
#define CACHE_BYTES (48U << 10)
#define MIRROR_NODES 64U /* with as few descriptors as MIRROR_LIMIT it keeps no more of them open */
#define MIRROR_LIMIT 256U
#define FUSE_CLONE _IOR(229, 0, uint32_t)

int __wrap_channel_clone(Channel *channel, int *ret_fd);
bool __wrap_pressure_check(PressureWatch *watch, const short revents[PRESSURE_N_POLLED]);
int __wrap_fuse_service_finish_file_requests(struct fuse_service *sf);
int __wrap_fuse_service_session_mount(struct fuse_service *sf, struct fuse_session *session, mode_t type, struct fuse_cmdline_opts *opts);

typedef struct Kind {
        const char *name, *make, *check; /* commands, in the directory */
        unsigned n_files;                /* that are used */
        bool maps, read_only;
} Kind;

static const Kind kinds[] = {
        {.name = "stripe",
         .make = "truncate -s 24M device0 device1 && " TOOL " create --chunk 16K device0 device1",
         .check = TOOL " check device0 device1", .n_files = FILES, .maps = true},
        {.name = "pack",
         .make = "mkdir tree && for i in 0 1 2 3 4 5; do truncate -s 2M tree/file$i; for k in 1 5 9 30 70; do"
                 " head -c 9000 /dev/urandom | dd of=tree/file$i bs=16K seek=$k conv=notrunc status=none; done; done && " TOOL " tree device0",
         .check = TOOL " verify device0", .n_files = FILES, .maps = true, .read_only = true},
        {.name = "ext4",
         .make = "PATH=$PATH:/usr/sbin:/sbin; mkfs.ext4 -q -F ${RACE_MKFS:--b 4096} device0 64M",
         .check = "PATH=$PATH:/usr/sbin:/sbin; e2fsck -fn device0", .n_files = FILES, .maps = true},
        {.name = "mirror", .make = "mkdir device0", .check = "test -d device0", .n_files = 3 * MIRROR_NODES},
};

static const Kind *kind;
static int device_fd = -EBADF;
static unsigned n_clones, n_shrinks;

/* ---- in the place of the supervisor --------------------------------------------------------------------------------- */

int __wrap_channel_clone(Channel *channel, int *ret_fd) {
        _cleanup_fd_ int fd = RET_NERRNO(open("/dev/fuse", O_RDWR | O_CLOEXEC));

        if (fd < 0 || ioctl(fd, FUSE_CLONE, &device_fd) < 0)
                return -errno;
        n_clones++;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

bool __wrap_pressure_check(PressureWatch *watch, const short revents[PRESSURE_N_POLLED]) {
        n_shrinks++;
        return true;
}

int __wrap_fused_map_new(struct fused_map **ret, struct fuse_service *sf, struct fuse_args *args, const struct fuse_lowlevel_ops *lowlevel,
                         size_t size, const struct fused_map_operations *operations, const struct fused_map_config *config, void *userdata) {
        struct fused_map_config small = *config;

        small.cache_bytes = CACHE_BYTES;
        return __real_fused_map_new(ret, NULL, args, lowlevel, size, operations, &small, userdata);
}

/* ...which those that do not map call themselves. */
int __wrap_fuse_service_finish_file_requests(struct fuse_service *sf) {
        return 0;
}

int __wrap_fuse_service_session_mount(struct fuse_service *sf, struct fuse_session *session, mode_t type, struct fuse_cmdline_opts *opts) {
        char path[32];

        (void) snprintf(path, sizeof path, "/dev/fd/%d", device_fd);
        return fuse_session_mount(session, path) == 0 ? 0 : -EIO;
}

int __wrap_fused_map_run(struct fused_map *map, struct fuse_cmdline_opts *opts) {
        int r = __wrap_fuse_service_session_mount(NULL, fused_map_session(map), S_IFDIR, opts);

        return r < 0 ? r : fused_map_serve(map);
}

/* ---- a client ------------------------------------------------------------------------------------------------------- */

static uint64_t state;
static uint8_t *data; /* aligned */
static uint64_t n_done;

static unsigned rnd(unsigned below) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (unsigned) (state >> 33) % below;
}

static const char *some_name(void) {
        static char names[4][16];
        static unsigned next;
        char *name = names[next++ % ELEMENTSOF(names)];

        (void) snprintf(name, sizeof names[0], "file%u", rnd(kind->n_files));
        return name;
}

static void read_or_write(bool write, bool direct) {
        const bool aligned = direct || rnd(2);
        _cleanup_fd_ int fd = open(some_name(), (write ? O_RDWR | O_CREAT : O_RDONLY) | (direct ? O_DIRECT : 0) | O_CLOEXEC, 0644);
        size_t n = 1 + rnd(rnd(4) ? 3 * BLOCK : DATA_MAX);
        off_t pos = rnd(FILE_MAX);

        if (aligned) {
                n = ALIGN_TO(n, (size_t) BLOCK);
                pos = pos / BLOCK * BLOCK;
        }
        if (fd >= 0)
                n_done += (write ? pwrite(fd, data, n, pos) : pread(fd, data, n, pos)) > 0;
}

static void do_read(void) {
        read_or_write(false, false);
}

static void do_read_direct(void) {
        read_or_write(false, true);
}

static void do_write(void) {
        read_or_write(true, false);
}

static void do_write_direct(void) {
        read_or_write(true, true);
}

static void do_forget(void) {
        _cleanup_fd_ int fd = open(some_name(), O_RDONLY | O_CLOEXEC);

        if (fd >= 0 && fsync(fd) == 0)
                n_done += posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
}

static void do_truncate(void) {
        n_done += truncate(some_name(), rnd(FILE_MAX)) == 0;
}

static void do_allocate(void) {
        static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
        _cleanup_fd_ int fd = open(some_name(), O_RDWR | O_CLOEXEC);

        if (fd >= 0)
                n_done += fallocate(fd, modes[rnd(ELEMENTSOF(modes))], rnd(FILE_MAX), 1 + rnd(DATA_MAX)) == 0;
}

static void do_seek(void) {
        _cleanup_fd_ int fd = open(some_name(), O_RDONLY | O_CLOEXEC);

        if (fd >= 0)
                n_done += lseek(fd, rnd(FILE_MAX), rnd(2) ? SEEK_DATA : SEEK_HOLE) >= 0;
}

static void do_unlink(void) {
        n_done += unlink(some_name()) == 0;
}

static void do_rename(void) {
        n_done += rename(some_name(), some_name()) == 0;
}

static void do_link(void) {
        n_done += link(some_name(), some_name()) == 0;
}

static void do_directory(void) {
        n_done += mkdir("directory", 0755) == 0;
        n_done += rename("file0", "directory/file") == 0;
        n_done += unlink("directory/file") == 0;
        n_done += rmdir("directory") == 0;
}

static void do_list(void) {
        DIR *dir = opendir(".");

        for (struct dirent *entry; dir && (entry = readdir(dir));) {
                struct stat st;
                n_done += fstatat(dirfd(dir), entry->d_name, &st, 0) == 0;
        }
        if (dir)
                (void) closedir(dir);
}

static void do_attribute(void) {
        const char *name = some_name();
        char value[64];

        n_done += setxattr(name, "user.q", "value", 1 + rnd(5), 0) == 0;
        n_done += getxattr(name, "user.q", value, sizeof value) > 0;
        n_done += listxattr(name, value, sizeof value) > 0;
        n_done += chmod(name, 0600 + rnd(64)) == 0;
        n_done += rnd(3) == 0 && removexattr(name, "user.q") == 0;
}

static void do_sync(void) {
        _cleanup_fd_ int fd = open(some_name(), O_RDONLY | O_CLOEXEC);

        if (fd >= 0)
                n_done += (rnd(8) ? fsync(fd) : syncfs(fd)) == 0;
}

static const struct {
        void (*act)(void);
        unsigned weight;
        bool changes;
} acts[] = {
        {do_read, 20, false}, {do_read_direct, 20, false}, {do_write, 20, true}, {do_write_direct, 20, true}, {do_forget, 6, false},
        {do_truncate, 5, true}, {do_allocate, 6, true}, {do_seek, 6, false}, {do_unlink, 3, true}, {do_rename, 3, true},
        {do_link, 1, true}, {do_directory, 2, true}, {do_list, 3, false}, {do_attribute, 4, true}, {do_sync, 3, false},
};

static int use(unsigned number, time_t end) {
        data = mmap(NULL, DATA_MAX + BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED || chdir(lone_directory) < 0 || chdir("mnt") < 0)
                return 1;
        memset(data, (int) number + 1, DATA_MAX + BLOCK);
        state = number + 1;
        while (time(NULL) < end) {
                unsigned i = rnd(ELEMENTSOF(acts));
                if (rnd(20) < acts[i].weight && !(kind->read_only && acts[i].changes))
                        acts[i].act();
        }
        printf("client %u: %llu operations that did something\n", number, (unsigned long long) n_done);
        (void) fflush(stdout);
        return n_done < 20;
}

static int use_all(unsigned seconds) {
        const time_t end = time(NULL) + (time_t) seconds;
        int failed = 0, status;
        char path[96];
        pid_t pid;

        for (unsigned i = 0; i < CLIENTS; i++)
                if ((pid = fork()) == 0)
                        _exit(use(i, end));
                else if (pid < 0)
                        failed = 1;
        (void) snprintf(path, sizeof path, "%s/mnt", lone_directory);
        while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
                failed |= pid > 0 && status != 0;
                if (pid == 0 && time(NULL) > end + HANG_SECONDS) {
                        printf("they wait for each other\n");
                        (void) fflush(stdout);
                        return umount2(path, MNT_FORCE | MNT_DETACH) < 0 || true; /* aborts everything that is under way */
                }
                if (pid == 0)
                        (void) usleep(20000);
        }
        return umount2(path, failed ? MNT_DETACH : 0) < 0 || failed;
}

/* ---- */

static int run_command(const char *command) {
        char line[1024];

        (void) snprintf(line, sizeof line, "{ cd %s && %s; } >/dev/null 2>&1", lone_directory, command);
        return system(line);
}

static int mount_device(void) {
        char path[96], options[128];

        device_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        (void) snprintf(path, sizeof path, "%s/mnt", lone_directory);
        (void) snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,max_read=262144", device_fd);
        if (device_fd < 0 || mkdir(path, 0700) < 0 || mount("race", path, "fuse.race", MS_NOSUID | MS_NODEV, options) < 0)
                return -errno;
        return 0;
}

static int serve(unsigned seconds) {
        static char *argv[] = {(char *) "server", (char *) "/slots/source", (char *) "/mnt", NULL};
        int r = mount_device(), status = 1;
        pid_t pid;

        if (r < 0) {
                fprintf(stderr, "mounting: %s\n", strerror(-r));
                return 1;
        }
        (void) fflush(NULL);
        pid = fork(); /* before there are threads */
        if (pid == 0) {
                (void) close(device_fd);
                _exit(use_all(seconds));
        }
        if (!kind->maps)
                (void) setrlimit(RLIMIT_NOFILE, &(struct rlimit){MIRROR_LIMIT, MIRROR_LIMIT});
        r = server_main(ELEMENTSOF(argv) - 1, argv);
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                return 1;
        printf("server: %d, clients: %#x, %u clones, cache taken back from %u times\n", r, (unsigned) status, n_clones, n_shrinks);
        return r != 0 || status != 0 || (kind->maps && (n_clones < 2 || n_shrinks == 0));
}

int main(int argc, char **argv) {
        int failed;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strcmp(kinds[i].name, SERVER) == 0)
                        kind = &kinds[i];
        (void) snprintf(lone_directory, sizeof lone_directory, "/tmp/race-XXXXXX");
        lone_direct = true;
        if (argc != 2 || !kind || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || !mkdtemp(lone_directory)) {
                perror("race-NAME SECONDS");
                return 1;
        }
        failed = run_command(kind->make) != 0 || serve((unsigned) atoi(argv[1])) != 0;
        if (!failed && run_command(kind->check) != 0) {
                fprintf(stderr, "what is left is damaged\n");
                failed = 1;
        }
        (void) run_command("rm -r \"$PWD\"");
        return failed;
}
