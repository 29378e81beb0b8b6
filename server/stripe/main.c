/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fused-stripe-server: serves a striped volume. Where a file's chunks are is computed, by the mapping program `stripe`, in its first run of
 * rows, which is most often all of it; the server answers for the rest, and gives growing files their rows. Names are those of one directory.
 *
 * Bytes of a file's rows that were never written hold whatever the devices held. So rows are handed out for writing up to a mark, which only a
 * write moves, and what is between the old mark and that write is zeroed first. */

#define FUSE_USE_VERSION 312
#include "fused-map.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sanitizer.h"
#include "program/files.h"
#include "stripe/stripe.h"
#include "stripe/volume.h"

#define ROOT FUSE_ROOT_ID
#define TIMEOUT 3600.0

static struct {
        struct fused_map *map;
        StripeVolume volume;
        pthread_mutex_t lock; /* of the table, the marks, the program's table */
        uint64_t marks[STRIPE_FILES_MAX]; /* bytes up to which a file's rows hold what is its own */
        uint32_t opens[STRIPE_FILES_MAX], n_opens; /* of each file; of all */
        bool dirty;
        FilesTable files;
        bool has_program;
        char *source; /* owned */
        uint32_t uid, gid;
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

static StripeFile *file_of(fuse_ino_t ino) {
        StripeFile *file = ino >= 2 && ino < STRIPE_FILES_MAX + 2 ? &own.volume.table.files[ino - 2] : NULL;

        return file && file->name[0] ? file : NULL;
}

static int64_t now_nsec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        return stripe_time(&now);
}

static int fill_stat(fuse_ino_t ino, struct stat *ret) {
        const StripeFile *file = file_of(ino);

        *ret = (struct stat){.st_ino = ino, .st_blksize = STRIPE_BLOCK};
        if (ino == ROOT) {
                ret->st_mode = S_IFDIR | 0755;
                ret->st_nlink = 2;
                ret->st_uid = own.uid;
                ret->st_gid = own.gid;
                return 0;
        }
        if (!file)
                return -ENOENT;
        ret->st_mode = S_IFREG | (file->mode & 07777);
        ret->st_nlink = 1;
        ret->st_uid = file->uid;
        ret->st_gid = file->gid;
        ret->st_size = (off_t) file->size;
        ret->st_blocks = (blkcnt_t) (stripe_room(&own.volume, file) / 512);
        ret->st_mtim = stripe_timespec(file->mtime);
        ret->st_atim = ret->st_ctim = ret->st_mtim;
        return 0;
}

/* What the program may answer for: what is the file's own, and in its first run. */
static void tell_program(uint32_t i) {
        struct stripe_file entry = {.nodeid = i + 2, .shift = own.volume.shift, .n = own.volume.n};
        uint64_t addr, room;

        if (!own.has_program)
                return;
        stripe_first_run(&own.volume, &own.volume.table.files[i], &addr, &room);
        entry.length = MIN_OF(own.marks[i], room);
        for (uint32_t k = 0; k < own.volume.n; k++) {
                entry.first[k] = addr;
                entry.device[k] = (uint8_t) (k + 1);
        }
        (void) fused_map_use_program(own.map, i + 2, files_put(&own.files, &entry) >= 0);
}

/* With the lock. Files that begin to be known begin with what is on the device. */
static void reply_entry(fuse_req_t req, uint32_t i, struct fuse_file_info *fi) {
        struct fuse_entry_param entry = {.ino = i + 2, .generation = own.volume.table.files[i].generation, .attr_timeout = TIMEOUT,
                                         .entry_timeout = TIMEOUT};

        (void) fill_stat(entry.ino, &entry.attr);
        if (fi)
                (void) fused_map_reply_create(own.map, req, &entry, fi, /* mapped= */ true);
        else
                (void) fused_map_reply_entry(own.map, req, &entry, /* mapped= */ true);
        tell_program(i);
}

/* ---- names and attributes ------------------------------------------------------------------------------------------- */

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
        (void) pthread_mutex_lock(&own.lock);
        int i = parent == ROOT ? stripe_find(&own.volume, name) : -ENOTDIR;
        if (i < 0)
                (void) fuse_reply_err(req, -i);
        else
                reply_entry(req, (uint32_t) i, NULL);
        (void) pthread_mutex_unlock(&own.lock);
}

static void reply_attr(fuse_req_t req, fuse_ino_t ino) {
        struct stat st;
        int r = fill_stat(ino, &st);

        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else
                (void) fused_map_reply_attr(own.map, req, &st, TIMEOUT, ino != ROOT);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        (void) pthread_mutex_lock(&own.lock);
        reply_attr(req, ino);
        (void) pthread_mutex_unlock(&own.lock);
}

/* With the lock. Rows that a file gives back may become another's only when the stored table says so as well: after a crash the first
 * would read what the other has written. */
static int save_locked(void) {
        int r = own.dirty ? stripe_save(&own.volume) : 0;

        if (r >= 0)
                own.dirty = false;
        return r;
}

/* While only one file is open, files may lie close together. */
static int reserve(uint32_t i, uint64_t bytes) {
        return stripe_reserve(&own.volume, i, bytes, /* apart= */ own.n_opens > own.opens[i]);
}

/* From here on it may be read. */
static int zero(const StripeFile *file, uint64_t from, uint64_t to) {
        int r = stripe_move(&own.volume, file, /* write= */ true, from, NULL, to - from);

        for (uint32_t i = 0; i < own.volume.n && r >= 0; i++)
                r = fused_map_device_written(own.map, i + 1);
        return r;
}

/* Longer: the new part is zeroed, as a hole would read. Shorter: rows are given back. */
static int set_size(StripeFile *file, uint64_t size) {
        uint64_t n_rows = file->n_rows;
        uint32_t i = (uint32_t) (file - own.volume.table.files);
        uint64_t end = ALIGN_TO(size, (uint64_t) STRIPE_BLOCK);
        int r;

        if (size > INT64_MAX)
                return -EFBIG;
        r = reserve(i, end);
        if (r >= 0 && end > own.marks[i])
                r = zero(file, own.marks[i], end);
        if (r < 0)
                return r;
        own.marks[i] = end;
        file->size = size;
        tell_program(i);
        own.dirty = true;
        r = fused_map_set_size(own.map, i + 2, size);
        return r < 0 || file->n_rows >= n_rows ? r : save_locked();
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int what, struct fuse_file_info *fi) {
        StripeFile *file;
        int r = 0;

        (void) pthread_mutex_lock(&own.lock);
        file = file_of(ino);
        if (!file)
                r = -EPERM; /* the directory has no place for it */
        if (r >= 0 && what & FUSE_SET_ATTR_SIZE)
                r = set_size(file, (uint64_t) wanted->st_size);
        if (r >= 0) {
                if (what & FUSE_SET_ATTR_MODE)
                        file->mode = wanted->st_mode & 07777;
                if (what & FUSE_SET_ATTR_UID)
                        file->uid = wanted->st_uid;
                if (what & FUSE_SET_ATTR_GID)
                        file->gid = wanted->st_gid;
                if (what & FUSE_SET_ATTR_MTIME)
                        file->mtime = what & FUSE_SET_ATTR_MTIME_NOW ? now_nsec() : stripe_time(&wanted->st_mtim);
                own.dirty = true;
                reply_attr(req, ino);
        } else
                (void) fuse_reply_err(req, -r);
        (void) pthread_mutex_unlock(&own.lock);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi) {
        _cleanup_free_ char *buffer = malloc(size);
        size_t used = 0, n;
        struct stat st;

        if (ino != ROOT || !buffer) {
                (void) fuse_reply_err(req, ino != ROOT ? ENOTDIR : ENOMEM);
                return;
        }
        (void) pthread_mutex_lock(&own.lock);
        for (uint64_t i = (uint64_t) off; i < STRIPE_FILES_MAX + 2; i++) {
                const char *name = i == 0 ? "." : i == 1 ? ".." : own.volume.table.files[i - 2].name;
                if (!*name)
                        continue;
                (void) fill_stat(i < 2 ? ROOT : i, &st);
                n = fuse_add_direntry(req, buffer + used, size - used, name, &st, (off_t) i + 1);
                if (n > size - used)
                        break;
                used += n;
        }
        (void) pthread_mutex_unlock(&own.lock);
        (void) fuse_reply_buf(req, buffer, used);
}

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi) {
        const struct fuse_ctx *ctx = fuse_req_ctx(req);

        (void) pthread_mutex_lock(&own.lock);
        int i = parent == ROOT ? stripe_add(&own.volume, name) : -ENOTDIR;
        if (i < 0)
                (void) fuse_reply_err(req, -i);
        else {
                StripeFile *file = &own.volume.table.files[i];
                file->mode = mode & 07777;
                file->uid = ctx->uid;
                file->gid = ctx->gid;
                file->mtime = now_nsec();
                own.marks[i] = 0;
                own.opens[i] = 1;
                own.n_opens++;
                own.dirty = true;
                reply_entry(req, (uint32_t) i, fi);
                (void) fused_map_set_size(own.map, (uint64_t) i + 2, 0); /* the number may have been another file's */
        }
        (void) pthread_mutex_unlock(&own.lock);
}

/* A node's number is its place in the table, where its rows are written as well: a file that is open cannot do without either. */
static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
        (void) pthread_mutex_lock(&own.lock);
        int i = parent == ROOT ? stripe_find(&own.volume, name) : -ENOTDIR;
        if (i >= 0 && own.opens[i] > 0)
                i = -EBUSY;
        if (i >= 0) {
                if (own.has_program)
                        files_remove(&own.files, (uint64_t) i + 2);
                (void) fused_map_use_program(own.map, (uint64_t) i + 2, false);
                stripe_remove(&own.volume, (uint32_t) i);
                own.marks[i] = 0;
                own.dirty = true;
                i = save_locked();
        }
        (void) pthread_mutex_unlock(&own.lock);
        (void) fuse_reply_err(req, i < 0 ? -i : 0);
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino) {
        struct statvfs st = {.f_bsize = STRIPE_BLOCK, .f_frsize = 1UL << own.volume.shift, .f_files = STRIPE_FILES_MAX, .f_namemax = STRIPE_NAME_MAX};
        uint64_t used = 0;

        (void) pthread_mutex_lock(&own.lock);
        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++) {
                used += own.volume.table.files[i].n_rows;
                st.f_ffree += !own.volume.table.files[i].name[0];
        }
        st.f_blocks = own.volume.n_rows * own.volume.n;
        st.f_bfree = st.f_bavail = (own.volume.n_rows - used) * own.volume.n;
        (void) pthread_mutex_unlock(&own.lock);
        (void) fuse_reply_statfs(req, &st);
}

/* ---- data ----------------------------------------------------------------------------------------------------------- */

/* Gives a write its rows and moves the mark, having zeroed what the write leaves out. */
static int make_room(StripeFile *file, uint32_t i, uint64_t pos, uint64_t end) {
        uint64_t from = own.marks[i], to = pos / STRIPE_BLOCK * STRIPE_BLOCK;
        int r = 0;

        end = ALIGN_TO(end, (uint64_t) STRIPE_BLOCK);
        if (end <= from)
                return 0;
        if (end > stripe_room(&own.volume, file))
                r = reserve(i, end);
        if (r >= 0 && to > from)
                r = zero(file, from, to);
        if (r < 0)
                return r;
        own.marks[i] = end;
        own.dirty = true;
        return 0;
}

static int on_begin(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        uint64_t addr, offset, mark, chunk = 1ULL << own.volume.shift;
        uint32_t member, i = (uint32_t) request->nodeid - 2;
        StripeFile *file;
        int r = 0;

        (void) pthread_mutex_lock(&own.lock);
        file = file_of(request->nodeid);
        mark = file ? own.marks[i] : 0;
        if (!file)
                r = -ENOENT;
        else if (request->opflags & (FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_WRITEBACK))
                r = make_room(file, i, request->pos, request->pos + request->count);
        if (r >= 0 && request->pos < own.marks[i]) {
                stripe_map(&own.volume, file, request->pos, &member, &addr, &offset);
                *read = (struct fused_mapping){.offset = offset, .length = MIN_OF(chunk, own.marks[i] - offset), .addr = addr,
                                               .type = FUSED_MAPPING_MAPPED, .dev = member + 1};
                if (request->pos >= mark) { /* nothing of it was the file's before */
                        read->length -= MAX_OF(mark, offset) - offset;
                        read->addr += MAX_OF(mark, offset) - offset;
                        read->offset = MAX_OF(mark, offset);
                        read->flags = FUSED_MAPPING_F_NEW;
                }
        } else if (r >= 0) /* nothing there: zeroing and unsharing leave it so */
                *read = (struct fused_mapping){.offset = request->pos / STRIPE_BLOCK * STRIPE_BLOCK, .length = STRIPE_BLOCK,
                                               .addr = FUSED_MAPPING_ADDR_NONE, .type = FUSED_MAPPING_HOLE};
        (void) pthread_mutex_unlock(&own.lock);
        return r;
}

static int on_ioend(void *userdata, const struct fused_map_ioend *ioend, uint64_t *size) {
        StripeFile *file;

        (void) pthread_mutex_lock(&own.lock);
        file = file_of(ioend->nodeid);
        if (file && ioend->error == 0 && ioend->pos + ioend->written > file->size) {
                file->size = ioend->pos + ioend->written;
                file->mtime = now_nsec();
                own.dirty = true;
                tell_program((uint32_t) ioend->nodeid - 2);
        }
        if (file)
                *size = file->size;
        (void) pthread_mutex_unlock(&own.lock);
        return ioend->error;
}

static void on_modified(void *userdata, uint64_t nodeid) {
        (void) pthread_mutex_lock(&own.lock);
        StripeFile *file = file_of(nodeid);
        if (file) {
                file->mtime = now_nsec();
                own.dirty = true;
        }
        (void) pthread_mutex_unlock(&own.lock);
}

static int on_kill_privileges(void *userdata, uint64_t nodeid, unsigned how, uid_t uid, gid_t gid) {
        uint32_t kill = 0;

        (void) pthread_mutex_lock(&own.lock);
        StripeFile *file = file_of(nodeid);
        if (file && how & FUSED_KILL_SET_ID)
                kill = fused_kill_set_id(file->mode, file->gid, uid, gid);
        if (kill) {
                file->mode &= ~kill;
                own.dirty = true;
        }
        (void) pthread_mutex_unlock(&own.lock);
        return kill != 0;
}

static int save(void) {
        int r;

        (void) pthread_mutex_lock(&own.lock);
        r = save_locked();
        (void) pthread_mutex_unlock(&own.lock);
        return r;
}

static int on_sync(void *userdata) {
        return save();
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int data_only, struct fuse_file_info *fi) {
        (void) fuse_reply_err(req, -save());
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        (void) pthread_mutex_lock(&own.lock);
        if (file_of(ino)) {
                own.opens[ino - 2]++;
                own.n_opens++;
        }
        (void) pthread_mutex_unlock(&own.lock);
        (void) fused_map_reply_open(own.map, req, fi);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
        (void) pthread_mutex_lock(&own.lock);
        if (file_of(ino) && own.opens[ino - 2] > 0) {
                own.opens[ino - 2]--;
                own.n_opens--;
        }
        (void) pthread_mutex_unlock(&own.lock);
        (void) fuse_reply_err(req, -save());
}

static int on_start(void *userdata) {
        struct fused_map_table table = {.name = "files", .n_entries = 2 * STRIPE_FILES_MAX + 49};
        int r;

        r = fused_map_attach_program(own.map, "stripe", &table, 1);
        if (r >= 0)
                r = files_init(&own.files, table.data, table.entry_size, table.n_available);
        own.has_program = r >= 0;
        if (r < 0 && r != -EOPNOTSUPP)
                fprintf(stderr, "fused-stripe-server: no mapping program: %s\n", strerror(-r));
        return 0;
}

/* ---- running -------------------------------------------------------------------------------------------------------- */

static int on_word(void *data, const char *word, int key, struct fuse_args *rest) {
        if (key == FUSE_OPT_KEY_OPT && sscanf(word, "owner=%u:%u", &own.uid, &own.gid) == 2)
                return 0;
        if (key != FUSE_OPT_KEY_NONOPT || own.source)
                return 1;
        own.source = strdup(word);
        return own.source ? 0 : -1;
}

static int receive(struct fuse_service *service, const char *path, int flags) {
        int fd = -EBADF, r;

        r = fuse_service_request_file(service, path, flags, 0, FUSE_SERVICE_REQUEST_FILE_QUIET);
        if (r >= 0)
                r = fuse_service_receive_file(service, path, &fd);
        return r < 0 ? r : fd;
}

typedef struct Devices {
        int fds[STRIPE_MEMBERS_MAX], direct_fds[STRIPE_MEMBERS_MAX]; /* owned */
        uint64_t sizes[STRIPE_MEMBERS_MAX];
        uint32_t n;
        bool read_only;
} Devices;

static void devices_done(Devices *devices) {
        fd_close_many(devices->fds, devices->n);
        fd_close_many(devices->direct_fds, devices->n);
        devices->n = 0;
}

static int receive_devices(struct fuse_service *service, Devices *ret) {
        for (uint32_t i = 0; i < STRIPE_MEMBERS_MAX; i++) {
                char path[32];
                struct stat st;
                int fd;
                (void) snprintf(path, sizeof path, "/slots/device%u", i);
                fd = receive(service, i == 0 ? own.source : path, O_RDWR);
                if (fd == -EROFS) {
                        ret->read_only = true;
                        fd = receive(service, i == 0 ? own.source : path, O_RDONLY);
                }
                if (fd < 0)
                        return i >= 2 ? 0 : fd;
                ret->fds[i] = fd;
                ret->direct_fds[i] = receive(service, i == 0 ? own.source : path, (ret->read_only ? O_RDONLY : O_RDWR) | O_DIRECT);
                ret->n++;
                if (fstat(fd, &st) < 0 || (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &ret->sizes[i]) < 0))
                        return -errno;
                if (!S_ISBLK(st.st_mode))
                        ret->sizes[i] = (uint64_t) st.st_size;
        }
        return 0;
}

static int open_volume(const Devices *devices) {
        const char *why = "";
        int r = stripe_open(devices->fds, devices->sizes, devices->n, &own.volume, &why);

        if (r < 0)
                fprintf(stderr, "fused-stripe-server: %s\n", why);
        for (uint32_t i = 0; i < STRIPE_FILES_MAX && r >= 0; i++) {
                own.marks[i] = ALIGN_TO(own.volume.table.files[i].size, (uint64_t) STRIPE_BLOCK);
                if (!devices->read_only) /* rows for writes that have failed */
                        r = reserve(i, own.marks[i]);
        }
        return r;
}

static int run(struct fuse_service *service, struct fuse_args *args) {
        static const struct fuse_lowlevel_ops operations = {
                .lookup = on_lookup, .getattr = on_getattr, .setattr = on_setattr, .readdir = on_readdir, .create = on_create, .unlink = on_unlink,
                .statfs = on_statfs, .open = on_open, .release = on_release, .fsync = on_fsync};
        static const struct fused_map_operations map_operations = {
                .begin = on_begin, .ioend = on_ioend, .modified = on_modified, .kill_privileges = on_kill_privileges, .sync = on_sync,
                .start = on_start};
        struct fused_map_config config = {.block_size = STRIPE_BLOCK};
        _cleanup_(devices_done) Devices devices = {0};
        struct fuse_cmdline_opts options = {0};
        int r;

        r = fuse_service_append_args(service, args);
        if (r < 0)
                return r;
        if (fuse_opt_parse(args, NULL, NULL, on_word) < 0 || fuse_service_parse_cmdline_opts(args, &options) < 0 || !own.source)
                return -EINVAL;
        r = receive_devices(service, &devices);
        if (r >= 0)
                r = open_volume(&devices);
        config.read_only = devices.read_only;
        if (r >= 0)
                r = fused_map_new(&own.map, service, args, &operations, sizeof operations, &map_operations, &config, NULL);
        for (uint32_t i = 0; i < devices.n && r >= 0; i++) {
                r = fused_map_add_device(own.map, devices.fds[i], 0);
                if (r >= 0 && devices.direct_fds[i] >= 0)
                        (void) fused_map_add_direct(own.map, i + 1, devices.direct_fds[i]);
        }
        if (r >= 0)
                r = fused_map_run(own.map, &options);
        if (own.map && !devices.read_only && save() < 0)
                fprintf(stderr, "fused-stripe-server: the table of files could not be written\n");
        devices_done(&devices);
        fused_map_free(own.map); /* whoever unmounts may go on */
        free(options.mountpoint);
        return r;
}

int main(int argc, char **argv) {
        struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
        struct fuse_service *service;
        int r;

        r = fuse_service_accept(&service);
        if (r < 0 || !fuse_service_accepted(service)) {
                fprintf(stderr, "fused-stripe-server: %s\n", r < 0 ? strerror(-r) : "not started as a service; see fused(8)");
                return 1;
        }
        r = run(service, &args);
        if (r < 0) {
                fprintf(stderr, "fused-stripe-server: %s\n", strerror(-r));
                (void) fuse_service_send_goodbye(service, 1);
        }
        fuse_service_destroy(&service);
        fuse_opt_free_args(&args);
        free(own.source);
        return fuse_service_exit(r);
}
