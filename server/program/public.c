/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of files for servers outside of this tree: see fused-map.h. */

#define FUSE_USE_VERSION 312
#include "fused-map.h"
#include "program/files.h"

static FilesTable table_of(const struct fused_program_files *files) {
        return (FilesTable){.data = files->data, .entry_size = files->entry_size, .n_slots = files->n_slots};
}

int fused_program_files_init(struct fused_program_files *files, const struct fused_map_table *table) {
        FilesTable t;
        int r;

        r = files_init(&t, table->data, table->entry_size, table->n_available);
        if (r < 0)
                return r;
        *files = (struct fused_program_files){.data = t.data, .entry_size = t.entry_size, .n_slots = t.n_slots};
        return 0;
}

int fused_program_files_put(struct fused_program_files *files, const void *entry) {
        FilesTable t = table_of(files);

        return files_put(&t, entry);
}

void fused_program_files_remove(struct fused_program_files *files, uint64_t nodeid) {
        FilesTable t = table_of(files);

        files_remove(&t, nodeid);
}
