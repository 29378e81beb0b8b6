/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the data of a striped volume's files is.
 *
 * Bytes of a file's rows that were never written hold whatever the devices held. So rows are handed out for writing up to a mark, which only a
 * write moves, and what is between the old mark and that write is zeroed first. */

#include "stripe/server.h"

#include <stdio.h>
#include <string.h>

/* What the program may answer for: what is the file's own, and in its first run. */
void server_tell_program(uint32_t i) {
        struct stripe_file entry = {.nodeid = i + 2, .shift = server.volume.shift, .n = server.volume.n};
        uint64_t addr, room;

        if (!server.has_program)
                return;
        stripe_first_run(&server.volume, &server.volume.table.files[i], &addr, &room);
        entry.length = MIN_OF(server.marks[i], room);
        for (uint32_t k = 0; k < server.volume.n; k++) {
                entry.first[k] = addr;
                entry.device[k] = (uint8_t) (k + 1);
        }
        (void) fused_map_use_program(server.map, i + 2, files_put(&server.files, &entry) >= 0);
}

/* ---- sizes and room ------------------------------------------------------------------------------------------------- */

/* While only one file is open, files may lie close together. */
int server_reserve(uint32_t i, uint64_t bytes) {
        return stripe_reserve(&server.volume, i, bytes, /* apart= */ server.n_opens > server.opens[i]);
}

/* From here on it may be read. */
static int zero(const StripeFile *file, uint64_t from, uint64_t to) {
        int r = stripe_move(&server.volume, file, /* write= */ true, from, NULL, to - from);

        for (uint32_t i = 0; i < server.volume.n && r >= 0; i++)
                r = fused_map_device_written(server.map, i + 1);
        return r;
}

/* Longer: the new part is zeroed, as a hole would read. Shorter: rows are given back. */
int server_set_size(StripeFile *file, uint64_t size) {
        uint64_t n_rows = file->n_rows;
        uint32_t i = (uint32_t) (file - server.volume.table.files);
        uint64_t end = ALIGN_TO(size, (uint64_t) STRIPE_BLOCK);
        int r;

        if (size > INT64_MAX)
                return -EFBIG;
        r = server_reserve(i, end);
        if (r >= 0 && end > server.marks[i])
                r = zero(file, server.marks[i], end);
        if (r < 0)
                return r;
        server.marks[i] = end;
        file->size = size;
        server_tell_program(i);
        server.dirty = true;
        r = fused_map_set_size(server.map, i + 2, size);
        return r < 0 || file->n_rows >= n_rows ? r : server_save_locked();
}

/* Gives a write its rows and moves the mark, having zeroed what the write leaves out. */
static int make_room(StripeFile *file, uint32_t i, uint64_t pos, uint64_t end) {
        uint64_t from = server.marks[i], to = pos / STRIPE_BLOCK * STRIPE_BLOCK;
        int r = 0;

        end = ALIGN_TO(end, (uint64_t) STRIPE_BLOCK);
        if (end <= from)
                return 0;
        if (end > stripe_room(&server.volume, file))
                r = server_reserve(i, end);
        if (r >= 0 && to > from)
                r = zero(file, from, to);
        if (r < 0)
                return r;
        server.marks[i] = end;
        server.dirty = true;
        return 0;
}

/* ---- mappings ------------------------------------------------------------------------------------------------------- */

static int on_begin(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        uint64_t addr, offset, mark, chunk = 1ULL << server.volume.shift;
        uint32_t member, i = (uint32_t) request->nodeid - 2;
        StripeFile *file;
        int r = 0;

        (void) pthread_mutex_lock(&server.lock);
        file = server_file(request->nodeid);
        mark = file ? server.marks[i] : 0;
        if (!file)
                r = -ENOENT;
        else if (request->opflags & (FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_WRITEBACK))
                r = make_room(file, i, request->pos, request->pos + request->count);
        if (r >= 0 && request->pos < server.marks[i]) {
                stripe_map(&server.volume, file, request->pos, &member, &addr, &offset);
                *read = (struct fused_mapping){.offset = offset, .length = MIN_OF(chunk, server.marks[i] - offset), .addr = addr,
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
        (void) pthread_mutex_unlock(&server.lock);
        return r;
}

static int on_ioend(void *userdata, const struct fused_map_ioend *ioend, uint64_t *size) {
        StripeFile *file;

        (void) pthread_mutex_lock(&server.lock);
        file = server_file(ioend->nodeid);
        if (file && ioend->error == 0 && ioend->pos + ioend->written > file->size) {
                file->size = ioend->pos + ioend->written;
                file->mtime = server_now();
                server.dirty = true;
                server_tell_program((uint32_t) ioend->nodeid - 2);
        }
        if (file)
                *size = file->size;
        (void) pthread_mutex_unlock(&server.lock);
        return ioend->error;
}

static void on_modified(void *userdata, uint64_t nodeid) {
        (void) pthread_mutex_lock(&server.lock);
        StripeFile *file = server_file(nodeid);
        if (file) {
                file->mtime = server_now();
                server.dirty = true;
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
                file->mode &= ~kill;
                server.dirty = true;
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
