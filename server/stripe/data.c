/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the data of a striped volume's files is.
 *
 * Bytes of a file's rows that were never written hold whatever the devices held. So what is in a gap, or behind the end, is unwritten space for the
 * library: it reads as zeroes, and of each write into it the server hears when it is on the device. Only then is it the file's own. */

#include "stripe/server.h"

#include <stdio.h>
#include <string.h>

/* What the program may answer for: what is the file's own up to the first gap, and in its first run. */
void server_tell_program(uint32_t i) {
        struct stripe_file entry = {.nodeid = i + 2, .shift = server.volume.shift, .n = server.volume.n};
        const StripeFile *file = &server.volume.table.files[i];
        uint64_t addr, room, from, to;

        if (!server.has_program)
                return;
        stripe_first_run(&server.volume, file, &addr, &room);
        entry.length = stripe_is_written(&server.volume, file, 0, &from, &to) ? MIN_OF(to, room) : 0;
        for (uint32_t k = 0; k < server.volume.n; k++) {
                entry.first[k] = addr;
                entry.device[k] = (uint8_t) (k + 1);
        }
        (void) fused_map_use_program(server.map, i + 2, files_put(&server.files, &entry) >= 0);
}

/* ---- sizes and room ------------------------------------------------------------------------------------------------- */

/* While only one file is open, files may be placed close together. */
int server_reserve(uint32_t i, uint64_t bytes) {
        return stripe_reserve(&server.volume, i, bytes, /* apart= */ server.n_opens > server.opens[i]);
}

/* Longer: the new part is a gap. Shorter: rows are given back. */
static int resize(uint32_t i, uint64_t size) {
        const StripeFile *file = &server.volume.table.files[i];
        const uint64_t n_rows = file->n_rows;
        int r;

        server_begin_change();
        r = server_reserve(i, ALIGN_TO(size, (uint64_t) STRIPE_BLOCK));
        if (r >= 0)
                r = stripe_resize(&server.volume, i, size);
        if (r < 0 || file->n_rows < n_rows)
                return r < 0 ? r : server_end_change();
        server_changed(i);
        return 0;
}

int server_set_size(fuse_ino_t ino, uint64_t size) {
        const uint32_t i = (uint32_t) ino - 2;
        int r = 0;

        if (size > INT64_MAX)
                return -EFBIG;
        if (size > server.volume.table.files[i].size)
                r = server_gap_room(ino);
        else
                server_wait_filled(ino);
        if (r < 0 || !server_file(ino))
                return r < 0 ? r : -ENOENT;
        r = resize(i, size);
        if (r < 0)
                return r;
        server_hand_back(i, 0, UINT64_MAX); /* nothing is under way in this file */
        server_tell_program(i);
        return fused_map_set_size(server.map, ino, size);
}

/* Ends the change that has begun. Removed files that nobody has open any more go with it. */
static int reap(void) {
        bool gone[STRIPE_FILES_MAX] = {0};
        int r;

        for (uint32_t i = 0; i < STRIPE_FILES_MAX; i++)
                if (server.volume.table.files[i].removed && server.opens[i] == 0 && server.filling != i + 2) {
                        stripe_remove(&server.volume, i);
                        gone[i] = true;
                }
        r = server_end_change();
        for (uint32_t i = 0; i < STRIPE_FILES_MAX && r >= 0; i++) {
                if (!gone[i])
                        continue;
                server_hand_back(i, 0, UINT64_MAX);
                if (server.has_program)
                        files_remove(&server.files, (uint64_t) i + 2);
                (void) fused_map_use_program(server.map, (uint64_t) i + 2, false);
        }
        return r;
}

int server_remove(uint32_t i) {
        server_begin_change();
        server.volume.table.files[i].removed = 1;
        return reap();
}

int server_closed(fuse_ino_t ino) {
        const StripeFile *file;

        server_wait_filled(ino);
        file = server_file(ino);
        if (!file || !file->removed || server.opens[ino - 2] > 0)
                return 0;
        server_begin_change();
        return reap();
}

/* ---- mappings ------------------------------------------------------------------------------------------------------- */

/* Does data go to the device now? Not where the kernel puts it into its cache, and asks again when it writes back. */
static bool moves(const struct fused_map_request *request) {
        return request->opflags & (FUSED_MAPPING_OP_DIRECT | FUSED_MAPPING_OP_DAX | FUSED_MAPPING_OP_WRITEBACK);
}

/* Rows for all of the request. */
static int make_room(const struct fused_map_request *request) {
        const uint64_t end = ALIGN_TO(request->pos + request->count, (uint64_t) STRIPE_BLOCK);
        const uint32_t i = (uint32_t) request->nodeid - 2;
        const StripeFile *file = server_file(request->nodeid);
        uint64_t from, to;
        int r = 0;

        if (file && moves(request) && !stripe_is_written(&server.volume, file, request->pos, &from, &to))
                r = server_gap_room(request->nodeid);
        file = server_file(request->nodeid); /* it may have gone meanwhile */
        if (r < 0 || !file)
                return r < 0 ? r : -ENOENT;
        return end > stripe_room(&server.volume, file) ? server_reserve(i, end) : 0;
}

/* The piece around pos that lies in one chunk and is all written or all gap. */
static struct fused_mapping piece_at(const StripeFile *file, uint64_t pos) {
        uint64_t addr, offset, from, to, chunk = 1ULL << server.volume.shift;
        bool written = stripe_is_written(&server.volume, file, pos, &from, &to);
        uint32_t member;

        stripe_map(&server.volume, file, pos, &member, &addr, &offset);
        from = MAX_OF(from, offset);
        to = MIN_OF(to, offset + chunk);
        return (struct fused_mapping){.offset = from, .length = to - from, .addr = addr + (from - offset), .dev = member + 1,
                                      .type = written ? FUSED_MAPPING_MAPPED : FUSED_MAPPING_UNWRITTEN};
}

static int on_begin(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        const bool writes = request->opflags & (FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_WRITEBACK);
        const uint64_t block = request->pos / STRIPE_BLOCK * STRIPE_BLOCK, end = ALIGN_TO(request->pos + request->count, (uint64_t) STRIPE_BLOCK);
        const uint32_t i = (uint32_t) request->nodeid - 2;
        const StripeFile *file;
        int r;

        (void) pthread_mutex_lock(&server.lock);
        r = writes ? make_room(request) : 0;
        file = server_file(request->nodeid);
        if (!file)
                r = -ENOENT;
        if (r >= 0 && (writes || request->pos < ALIGN_TO(file->size, (uint64_t) STRIPE_BLOCK))) {
                *read = piece_at(file, request->pos);
                if (writes && moves(request) && read->type == FUSED_MAPPING_UNWRITTEN)
                        server_hand_out(i, block, MIN_OF(end, read->offset + read->length));
        } else if (r >= 0) /* nothing there: zeroing and unsharing leave it so */
                *read = (struct fused_mapping){.offset = block, .length = STRIPE_BLOCK, .addr = FUSED_MAPPING_ADDR_NONE, .type = FUSED_MAPPING_HOLE};
        (void) pthread_mutex_unlock(&server.lock);
        return r;
}

static int on_ioend(void *userdata, const struct fused_map_ioend *ioend, uint64_t *size) {
        const uint64_t end = ioend->pos + ioend->written, from = ioend->pos / STRIPE_BLOCK * STRIPE_BLOCK;
        const uint32_t i = (uint32_t) ioend->nodeid - 2;
        StripeFile *file;
        int r = ioend->error;

        (void) pthread_mutex_lock(&server.lock);
        file = server_file(ioend->nodeid);
        if (file && r >= 0) {
                const bool grows = end > file->size;
                r = stripe_written(&server.volume, i, ioend->pos, ioend->written);
                if (grows && r >= 0)
                        file->mtime = server_now();
                server_hand_back(i, from, ALIGN_TO(end, (uint64_t) STRIPE_BLOCK));
                server_tell_program(i);
                server_changed(i);
        }
        if (file)
                *size = file->size;
        (void) pthread_mutex_unlock(&server.lock);
        return r;
}

static void on_modified(void *userdata, uint64_t nodeid) {
        (void) pthread_mutex_lock(&server.lock);
        StripeFile *file = server_file(nodeid);
        if (file) {
                file->mtime = server_now();
                server_changed((uint32_t) nodeid - 2);
        }
        (void) pthread_mutex_unlock(&server.lock);
}

static int on_kill_privileges(void *userdata, uint64_t nodeid, unsigned how, uid_t uid, gid_t gid) {
        uint32_t kill = 0;

        (void) pthread_mutex_lock(&server.lock);
        StripeFile *file = server_file(nodeid);
        if (file && how & FUSED_KILL_SET_ID)
                kill = fused_kill_set_id(file->mode, file->gid, uid, gid);
        if (kill) {
                file->mode &= (uint16_t) ~kill;
                server_changed((uint32_t) nodeid - 2);
        }
        (void) pthread_mutex_unlock(&server.lock);
        return kill != 0;
}

static int on_start(void *userdata) {
        struct fused_map_table table = {.name = "files", .n_entries = 2 * STRIPE_FILES_MAX + 49};
        int r;

        r = fused_map_attach_program(server.map, "stripe", &table, 1);
        if (r >= 0)
                r = files_init(&server.files, table.data, table.entry_size, table.n_available);
        server.has_program = r >= 0;
        if (r < 0 && r != -EOPNOTSUPP)
                fprintf(stderr, "fused-stripe-server: no mapping program: %s\n", strerror(-r));
        return 0;
}

static int on_sync(void *userdata) {
        return server_save();
}

const struct fused_map_operations server_map_operations = {
        .begin = on_begin, .ioend = on_ioend, .modified = on_modified, .kill_privileges = on_kill_privileges, .sync = on_sync,
        .start = on_start};
