/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The manager's end of a server's second channel: one request at a time, answered once; what breaks the rules ends the channel; who asks
 * too often waits; the page of counters cannot be made smaller under the manager's eyes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "manager/channel.h"

#define PATIENCE_USEC (3 * USEC_PER_SEC)
#define ASKED_MAX 10000U
#define RATE_MAX 4500U /* of requests in a second: 400 in a tenth, and somewhat more for where it is cut */

typedef struct World {
        sd_event *event;
        Channel *channel;
        int server_fd;
        unsigned n_asked, n_ended;
        uint32_t command;
        char why[64];
} World;

static void on_ask(void *userdata, const ChannelRequest *request) {
        World *world = userdata;

        world->n_asked++;
        world->command = request->command;
}

static void on_ended(void *userdata, const char *why) {
        World *world = userdata;

        world->n_ended++;
        if (why)
                strncpy(world->why, why, sizeof world->why - 1);
}

static const ChannelHooks hooks = {.ask = on_ask, .ended = on_ended};

static void run(World *world) {
        for (int i = 0; i < 8; i++)
                assert_true(sd_event_run(world->event, 0) >= 0);
}

static void open_world(World *world) {
        int pair[2];

        *world = (World){0};
        assert_int_equal(sd_event_new(&world->event), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        world->server_fd = pair[1];
        assert_int_equal(channel_new(world->event, pair[0], &hooks, world, &world->channel), 0);
}

static void close_world(World *world) {
        world->channel = channel_free(world->channel);
        world->server_fd = fd_close(world->server_fd);
        (void) sd_event_unref(world->event);
}

static void ask(World *world, ChannelCommand command, uint64_t serial) {
        const ChannelRequest request = {.magic = CHANNEL_MAGIC, .command = command, .serial = serial, .value = 3};

        assert_int_equal(fd_send(world->server_fd, &request, sizeof request, NULL, 0), 0);
        run(world);
}

/* -EAGAIN: none is there. */
static int take_reply(World *world, ChannelReply *reply, int *fd) {
        size_t n_fds = 0;
        ssize_t n = fd_receive(world->server_fd, reply, sizeof *reply, fd, fd ? 1 : 0, &n_fds, MSG_DONTWAIT);

        if (n < 0)
                return (int) n;
        assert_int_equal(channel_reply_validate(reply, (size_t) n), 0);
        return (int) n_fds;
}

static void test_one_at_a_time(void **state) {
        ChannelReply reply;
        World world;

        open_world(&world);
        ask(&world, CHANNEL_CLONE, 1);
        ask(&world, CHANNEL_BACKING_OPEN, 2);
        assert_int_equal(world.n_asked, 1);
        assert_int_equal(world.command, CHANNEL_CLONE);
        assert_int_equal(take_reply(&world, &reply, NULL), -EAGAIN);
        channel_done(world.channel, 0, /* answer= */ false, 0); /* the broker has answered */
        run(&world);
        assert_int_equal(take_reply(&world, &reply, NULL), -EAGAIN);
        assert_int_equal(world.n_asked, 2);
        assert_int_equal(world.command, CHANNEL_BACKING_OPEN);
        channel_done(world.channel, 0, /* answer= */ true, 17);
        assert_int_equal(take_reply(&world, &reply, NULL), 0);
        assert_int_equal(reply.serial, 2);
        assert_int_equal(reply.command, CHANNEL_BACKING_OPEN);
        assert_int_equal(reply.error, 0);
        assert_int_equal(reply.value, 17);
        channel_done(world.channel, -EIO, true, 0); /* nothing is asked: nothing is said */
        assert_int_equal(take_reply(&world, &reply, NULL), -EAGAIN);
        ask(&world, CHANNEL_CLONE, 3);
        channel_done(world.channel, -ENFILE, false, 0); /* a failure is ours to tell in any case */
        assert_int_equal(take_reply(&world, &reply, NULL), 0);
        assert_int_equal(reply.error, -ENFILE);
        assert_int_equal(world.n_ended, 0);
        close_world(&world);
}

static void test_page(void **state) {
        int fd = -EBADF, again = -EBADF;
        ChannelStatistics seen;
        ChannelReply reply;
        World world;

        open_world(&world);
        assert_false(channel_statistics(world.channel, &seen));
        assert_false(channel_statistics(NULL, &seen));
        ask(&world, CHANNEL_STATISTICS, 1);
        assert_int_equal(world.n_asked, 0);
        assert_int_equal(take_reply(&world, &reply, &fd), 1);
        assert_int_equal(reply.error, 0);
        assert_int_equal(ftruncate(fd, 0), -1);
        assert_int_equal(ftruncate(fd, 1 << 20), -1);
        ChannelStatistics *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(page != MAP_FAILED);
        assert_int_equal(page->magic, CHANNEL_STATISTICS_MAGIC);
        page->answered_by_cache = 5;
        page->engine = 77;
        assert_true(channel_statistics(world.channel, &seen));
        assert_int_equal(seen.answered_by_cache, 5);
        assert_string_equal(channel_engine_to_string(seen.engine), "unknown");
        assert_string_equal(channel_reason_to_string(UINT32_MAX), "unknown");
        (void) munmap(page, sizeof *page);
        ask(&world, CHANNEL_STATISTICS, 2);
        assert_int_equal(take_reply(&world, &reply, &again), 0);
        assert_int_equal(reply.error, -EALREADY);
        (void) close(fd);
        close_world(&world);
}

static void test_violations(void **state) {
        ChannelRequest good = {.magic = CHANNEL_MAGIC, .command = CHANNEL_CLONE, .serial = 1}, bad = good;
        World world;

        bad.command = _CHANNEL_COMMAND_MAX;
        const struct {
                const void *data;
                size_t size;
        } rows[] = {{"x", 1}, {&good, sizeof good - 1}, {&bad, sizeof bad}};
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                open_world(&world);
                assert_int_equal(fd_send(world.server_fd, rows[i].data, rows[i].size, NULL, 0), 0);
                run(&world);
                assert_int_equal(world.n_ended, 1);
                assert_true(world.why[0] != 0);
                assert_int_equal(world.n_asked, 0);
                assert_true(fd_send(world.server_fd, &good, sizeof good, NULL, 0) < 0); /* nobody is there */
                channel_done(world.channel, -EIO, true, 0);
                close_world(&world);
        }
        open_world(&world); /* a descriptor is none of our business, whichever it is */
        assert_int_equal(fd_send(world.server_fd, &good, sizeof good, &world.server_fd, 1), 0);
        run(&world);
        assert_int_equal(world.n_ended, 1);
        assert_int_equal(world.n_asked, 0);
        close_world(&world);
        open_world(&world); /* to go away is no offence */
        world.server_fd = fd_close(world.server_fd);
        run(&world);
        assert_int_equal(world.n_ended, 1);
        assert_int_equal(world.why[0], 0);
        close_world(&world);
        open_world(&world); /* in the middle of a request neither */
        ask(&world, CHANNEL_CLONE, 1);
        world.server_fd = fd_close(world.server_fd);
        channel_done(world.channel, -EIO, true, 0);
        run(&world);
        assert_int_equal(world.n_ended, 1);
        close_world(&world);
}

static uint64_t now_usec(void) {
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}

/* Asks until nothing comes any more, or 10,000 times: 0 the latter, on a machine so slow that it was never too often. */
static unsigned ask_until_quiet(World *world) {
        const uint64_t begin = now_usec();
        ChannelReply reply;

        for (unsigned i = 1; i <= ASKED_MAX; i++) {
                ask(world, CHANNEL_BACKING_CLOSE, i);
                channel_done(world->channel, 0, true, 0);
                if (take_reply(world, &reply, NULL) == -EAGAIN)
                        return i;
                assert_int_equal(reply.serial, i);
        }
        assert_true(now_usec() - begin > ASKED_MAX * USEC_PER_SEC / RATE_MAX);
        return 0;
}

static void test_too_often(void **state) {
        const uint64_t until = now_usec() + PATIENCE_USEC;
        ChannelReply reply;
        World world;

        open_world(&world);
        unsigned n = ask_until_quiet(&world);
        if (n == 0)
                return close_world(&world);
        assert_true(n > 200);
        unsigned before = world.n_asked;
        while (world.n_asked == before && now_usec() < until)
                assert_true(sd_event_run(world.event, PATIENCE_USEC) >= 0); /* it goes on by itself */
        assert_int_equal(world.n_asked, before + 1);
        channel_done(world.channel, 0, true, 0);
        assert_int_equal(take_reply(&world, &reply, NULL), 0);
        assert_int_equal(reply.serial, n);
        assert_int_equal(world.n_ended, 0);
        n = ask_until_quiet(&world);
        assert_true(n == 0 || n > 200);
        close_world(&world); /* while it is held back */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_at_a_time),
                cmocka_unit_test(test_page),
                cmocka_unit_test(test_violations),
                cmocka_unit_test(test_too_often),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
