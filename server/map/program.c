/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mapping program: loaded by the supervisor, run by its descriptor, its tables in shared memory. */

#define FUSE_USE_VERSION 312
#include "map/map.h"

#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct MapProgram {
        int fd; /* owned */
        size_t n_tables;
        struct {
                void *data; /* owned mapping */
                size_t size;
        } tables[CHANNEL_TABLES_MAX];
};

MapProgram *map_program_free(MapProgram *program) {
        if (!program)
                return NULL;
        for (size_t i = 0; i < program->n_tables; i++)
                if (program->tables[i].data)
                        (void) munmap(program->tables[i].data, program->tables[i].size);
        (void) fd_close(program->fd);
        free(program);
        return NULL;
}
DEFINE_CLEANUP(MapProgram *, map_program_freep, map_program_free)

/* Without privilege a program may be run by whoever holds its descriptor, with a context that is read and written back in place. */
bool map_program_run(MapProgram *program, struct fused_program_call *call) {
        union bpf_attr attr = {.test = {.prog_fd = (uint32_t) program->fd, .ctx_in = (uintptr_t) call, .ctx_size_in = sizeof *call}};

        return syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof attr.test) == 0 && attr.test.retval == FUSED_PROGRAM_HANDLED;
}

static int map_tables(MapProgram *program, const ChannelTable *got, const int *fds, struct fused_map_table *tables, size_t n) {
        for (size_t i = 0; i < n; i++) {
                size_t size = (size_t) got[i].n_entries * got[i].entry_size;
                void *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
                if (data == MAP_FAILED)
                        return -errno;
                program->tables[program->n_tables].data = data;
                program->tables[program->n_tables++].size = size;
                tables[i].data = data;
                tables[i].entry_size = got[i].entry_size;
                tables[i].n_available = got[i].n_entries;
        }
        return 0;
}

/* Programs name devices by number; what a number is called in mappings stands in the table "devices". */
static void fill_devices(const struct fused_map *map, const struct fused_map_table *table) {
        for (uint32_t i = 0; i < map->n_devices && i + 1 < table->n_available; i++)
                *(uint64_t *) (void *) ((char *) table->data + (i + 1) * table->entry_size) = fused_map_cookie(map, i + 1);
}

int fused_map_attach_program(struct fused_map *map, const char *name, struct fused_map_table *tables, size_t n_tables) {
        _cleanup_(map_program_freep) MapProgram *program = NULL;
        struct fused_map_table all[CHANNEL_TABLES_MAX] = {0};
        ChannelTable wanted[CHANNEL_TABLES_MAX] = {0};
        int fds[1 + CHANNEL_TABLES_MAX], r;

        if (map->program)
                return -EALREADY;
        if (!map->channel)
                return -EOPNOTSUPP;
        if (n_tables + 1 > ELEMENTSOF(all))
                return -E2BIG;
        memcpy(all, tables, n_tables * sizeof *tables);
        all[n_tables].name = "devices";
        for (size_t i = 0; i <= n_tables; i++) {
                if (strlen(all[i].name) >= sizeof wanted[i].name)
                        return -EINVAL;
                (void) snprintf(wanted[i].name, sizeof wanted[i].name, "%s", all[i].name);
                wanted[i].n_entries = all[i].n_entries;
        }
        r = channel_program(map->channel, name, wanted, n_tables + 1, fds);
        if (r < 0)
                return r;
        program = calloc(1, sizeof *program);
        if (program) {
                program->fd = TAKE_FD(fds[0]);
                r = map_tables(program, wanted, fds + 1, all, n_tables + 1);
        }
        fd_close_many(fds, n_tables + 2);
        if (!program || r < 0)
                return program ? r : -ENOMEM;
        fill_devices(map, &all[n_tables]);
        memcpy(tables, all, n_tables * sizeof *tables);
        map->program = TAKE_PTR(program);
        return 0;
}

int fused_map_use_program(struct fused_map *map, uint64_t nodeid, bool use) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, nodeid);

        if (!map->program)
                return -EOPNOTSUPP;
        if (!file)
                return -ESTALE;
        atomic_store_explicit(&file->has_program, use, memory_order_release);
        return 0;
}
