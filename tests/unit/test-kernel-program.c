/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine and mapping programs: when one is bound, what becomes of one that is not, and whose numbers its devices have. The linker puts the
 * functions below in the place of those that load a program and run it. */

#define FUSE_USE_VERSION 312
#include <string.h>
#include <sys/mman.h>

#include "unit/kernel-world.h"

#define BLOCK 4096U

/* ---- in the place of supervisor and program ------------------------------------------------------------------------- */

static World *world_of_program;
static const uint64_t *devices; /* the program's table of that name */
static unsigned n_runs;
static uint64_t lie; /* added to the device that it names */

int __wrap_channel_program(Channel *channel, const char *name, ChannelTable *tables, size_t n_tables, int *ret_fds);
int __wrap_channel_program(Channel *channel, const char *name, ChannelTable *tables, size_t n_tables, int *ret_fds) {
        assert_string_equal(name, "linear");
        for (size_t i = 0; i <= n_tables; i++) {
                ret_fds[i] = memfd_create("program", MFD_CLOEXEC);
                assert_true(ret_fds[i] >= 0);
                assert_int_equal(ftruncate(ret_fds[i], BLOCK), 0);
        }
        for (size_t i = 0; i < n_tables; i++) {
                tables[i].n_entries = MAP_DEVICES_MAX + 1;
                tables[i].entry_size = sizeof(uint64_t);
                if (strcmp(tables[i].name, "devices") == 0)
                        devices = mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, ret_fds[1 + i], 0);
        }
        assert_true(devices && devices != MAP_FAILED);
        return 0;
}

/* It knows where everything is, but allocates nothing. */
bool __wrap_map_program_run(MapProgram *program, struct fused_program_call *call);
bool __wrap_map_program_run(MapProgram *program, struct fused_program_call *call) {
        n_runs++;
        if (call->opflags & FUSED_MAPPING_OP_CHANGES)
                return false;
        ramfs_where(&world_of_program->ramfs, call->nodeid, call->pos, &call->read);
        if (call->read.dev)
                call->read.dev = (uint32_t) (devices[call->read.dev] + lie);
        call->write = (struct fused_mapping){call->read.offset, call->read.length, FUSED_MAPPING_ADDR_NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 0};
        return true;
}

/* As a server does in start(). */
static int load_program(Ramfs *ramfs) {
        struct fused_map_table table = {.name = "files"};
        int r;

        n_runs = 0;
        lie = 0;
        ramfs->map->channel = (Channel *) ramfs; /* nobody looks into it */
        r = fused_map_attach_program(ramfs->map, "linear", &table, 1);
        ramfs->map->channel = NULL;
        return r;
}

static const RamfsConfig with_program = {.block_size = BLOCK, .start = load_program};
static uint8_t data[BLOCK * 4], back[BLOCK * 4];

static ModelInode *begin_file(World *world) {
        ModelInode *inode = model_create(&world->model, "file");

        world_of_program = world;
        assert_int_equal(fused_map_use_program(world->ramfs.map, inode->nodeid, true), 0);
        for (size_t i = 0; i < sizeof data; i++)
                data[i] = (uint8_t) (i / 7);
        assert_int_equal(model_write(&world->model, inode, 0, sizeof data, data, true), 0);
        return inode;
}

/* ---- run by the kernel ---------------------------------------------------------------------------------------------- */

/* As struct_ops would: it knows even blocks, and leaves the others to the server. */
static bool run_program(void *userdata, const IomapBeginIn *in, uint64_t nodeid, IomapBeginOut *out) {
        World *world = userdata;

        if (in->opflags & FUSED_MAPPING_OP_CHANGES || in->pos / BLOCK % 2 != 0)
                return false;
        ramfs_where(&world->ramfs, nodeid, in->pos, &out->read);
        out->read.length = BLOCK;
        out->read.offset = in->pos / BLOCK * BLOCK;
        if (out->read.dev)
                out->read.dev = fused_map_cookie(world->ramfs.map, out->read.dev);
        out->write = (struct fused_mapping){out->read.offset, BLOCK, FUSED_MAPPING_ADDR_NONE, FUSED_MAPPING_PURE_OVERWRITE, 0, 0};
        return true;
}

/* The kernel runs it: the library does not, though it could, and the server hears of the rest. */
static void test_attached(void **state) {
        World *world = world_new(&with_program, &iomap_rn, true, 0);
        Model *model = &world->model;
        ModelInode *inode = begin_file(world);

        assert_true(model->attached);
        assert_int_equal(model->devices_at_attach, RAMFS_DEVICES); /* a program may be asked as soon as it is bound: its devices are there, */
        assert_false(model->attached_late);                        /* and no file has been asked for yet */
        model->program = run_program;
        model->program_userdata = world;
        const uint64_t before = world->ramfs.map->statistics->answered_by_server;
        for (uint64_t pos = 0; pos < sizeof back; pos += BLOCK)
                assert_int_equal(model_read(model, inode, pos, BLOCK, back + pos, true), 0);
        assert_memory_equal(data, back, sizeof data);
        assert_int_equal(model->n_by_program, 2);
        assert_int_equal(world->ramfs.map->statistics->answered_by_server, before + 2);
        assert_int_equal(world->ramfs.map->statistics->answered_by_program, 0);
        assert_int_equal(n_runs, 0);
        assert_int_equal(world_free(world), 0);
}

/* ---- run by the library --------------------------------------------------------------------------------------------- */

/* A kernel that does not take it, or gets no chance to: it is run by its descriptor, and its devices are the right ones, though its tables have the
 * kernel's numbers for them. */
static void test_not_attached(void **state) {
        static const int errors[] = {-EBUSY, -EOPNOTSUPP, 0};

        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                ModelConfig config = iomap_r7;
                config.attach_error = errors[i];
                config.add_device_error = errors[i] ? 0 : -ENOSPC; /* the user engine */
                World *world = world_new(&with_program, &config, true, 0);
                ModelInode *inode = begin_file(world);
                const uint64_t before = world->ramfs.map->statistics->answered_by_server;
                assert_false(world->model.attached);
                assert_int_equal(inode->iomap, errors[i] != 0);
                assert_int_equal(fused_map_cookie(world->ramfs.map, 1), errors[i] ? 5 : 1);
                n_runs = 0;
                memset(back, 0, sizeof back);
                assert_int_equal(model_read(&world->model, inode, 0, sizeof back, back, true), 0);
                assert_memory_equal(data, back, sizeof data);
                assert_true(n_runs > 0);
                assert_int_equal(world->ramfs.map->statistics->answered_by_program, n_runs);
                assert_int_equal(world->ramfs.map->statistics->answered_by_server, before);
                assert_int_equal(fused_map_use_program(world->ramfs.map, inode->nodeid, false), 0); /* not this file any more */
                n_runs = 0;
                assert_int_equal(model_read(&world->model, inode, 0, sizeof back, back, true), 0);
                assert_int_equal(n_runs, 0);
                assert_int_equal(world_free(world), 0);
        }
}

/* What it says is checked, as whatever the server says. */
static void test_liar(void **state) {
        ModelConfig config = iomap_rn;

        config.attach_error = -EBUSY;
        World *world = world_new(&with_program, &config, true, 0);
        ModelInode *inode = begin_file(world);
        lie = 7;
        assert_int_equal(model_read(&world->model, inode, 0, BLOCK, back, true), -EUCLEAN);
        assert_int_equal(world->ramfs.map->statistics->bad_mappings, 1);
        lie = 0;
        assert_int_equal(model_read(&world->model, inode, 0, BLOCK, back, true), 0);
        assert_int_equal(world_free(world), 0);
}

static int refuse_to_start(Ramfs *ramfs) {
        return -ENOMEDIUM;
}

/* Nothing is bound for servers without one, or that do not start. */
static void test_none(void **state) {
        World *world = world_new(&(RamfsConfig){.block_size = BLOCK}, &iomap_rn, true, 0);

        assert_false(world->model.attached);
        assert_int_equal(world_free(world), 0);
        world = world_new(&(RamfsConfig){.block_size = BLOCK, .start = refuse_to_start}, &iomap_rn, true, 0);
        assert_false(world->model.attached);
        assert_int_equal(world_free(world), -ENOMEDIUM);
}

/* One for a connection, and only for one that has agreed on fuse-iomap. */
static void test_twice(void **state) {
        World *world = world_new(&with_program, &iomap_rn, true, 0);

        assert_int_equal(model_calls.attach_program(world->ramfs.map), -EBUSY);
        world->model.attached = world->model.iomap = false;
        assert_int_equal(model_calls.attach_program(world->ramfs.map), -EOPNOTSUPP);
        world->model.iomap = true;
        assert_int_equal(world_free(world), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_attached), cmocka_unit_test(test_not_attached), cmocka_unit_test(test_liar),
                                           cmocka_unit_test(test_none), cmocka_unit_test(test_twice)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
