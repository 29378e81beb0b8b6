/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A server that maps over the model of the kernel. For tests. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "model/model.h"
#include "model/ramfs-map.h"

typedef struct World {
        Ramfs ramfs;
        Model model;
        pthread_t thread;
        int config_error;
} World;

static const ModelConfig iomap_r7 = {.column = MODEL_R7, .minor = IOMAP_MINOR, .offers = true, .config_flags = 0x7f};
static const ModelConfig iomap_rn = {.column = MODEL_RN, .minor = IOMAP_MINOR, .offers = true, .config_flags = 0x7f};
static const ModelConfig stock = {.minor = 46, .offers = true};

static void *world_serve(void *userdata) {
        World *world = userdata;

        return (void *) (intptr_t) fused_map_serve(world->ramfs.map);
}

/* devices: whether they are said to be block devices. */
static World *world_new(const RamfsConfig *ramfs, const ModelConfig *config, bool devices, int start_error) {
        World *world = calloc(1, sizeof *world);
        struct fused_map *map;
        char path[32];

        assert_non_null(world);
        ramfs_init(&world->ramfs, ramfs);
        world->ramfs.start_error = start_error;
        model_init(&world->model, config);
        map = world->ramfs.map;
        map->kernel_calls = &model_calls;
        map->kernel_userdata = &world->model;
        if (devices)
                model_say_block_devices(&world->model, map);
        (void) snprintf(path, sizeof path, "/dev/fd/%d", world->model.server_fd);
        assert_int_equal(fuse_session_mount(fused_map_session(map), path), 0);
        model_send_init(&world->model);
        assert_int_equal(pthread_create(&world->thread, NULL, world_serve, world), 0);
        world->config_error = model_start(&world->model);
        return world;
}

/* Returns what fused_map_serve() has returned. */
static int world_free(World *world) {
        void *result;

        (void) shutdown(world->model.fd, SHUT_RDWR); /* the server reads an end, as of a mount that is gone */
        assert_int_equal(pthread_join(world->thread, &result), 0);
        ramfs_done(&world->ramfs);
        model_done(&world->model);
        free(world);
        return (int) (intptr_t) result;
}
