/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The conversation with a server, good and bad, over a socket pair, without a broker: the hooks are recorded, and answered. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "manager-server.h"
#include "manager-table.h"
#include "manager/service.h"

#define MS_RDONLY_ 1U
#define MS_DEFAULT 6U /* nosuid, nodev */

typedef struct World {
        TestTable table;
        sd_event *event;
        Service *service;
        int fd;            /* the server's end */
        int file_error;    /* what the fake broker says to SEND_FILE */
        int channel_error; /* and to CHANNEL */
        unsigned n_channels;
        unsigned n_files, n_mounts, n_failed, n_finished;
        BrokerSendFile file;
        BrokerMount mount;
        bool gone, hold_mount;
        char why[256];
        uint8_t got[4096]; /* last packet from the manager */
        ssize_t got_size;
        int got_fd;
} World;

static void hook_send_file(void *userdata, const BrokerSendFile *file) {
        World *w = userdata;

        w->n_files++;
        w->file = *file;
        service_file_sent(w->service, w->file_error); /* the packet itself is the broker's */
}

static void hook_mount(void *userdata, const BrokerMount *mount) {
        World *w = userdata;

        w->n_mounts++;
        w->mount = *mount;
}

static void hook_failed(void *userdata, bool gone, const char *why) {
        World *w = userdata;

        w->n_failed++;
        w->gone = gone;
        (void) snprintf(w->why, sizeof w->why, "%s", why);
}

static void hook_finished(void *userdata) {
        World *w = userdata;

        w->n_finished++;
        w->service = service_free(w->service);
}

/* The broker has it sent by itself; a test may say that it cannot. */
static void hook_open_channel(void *userdata) {
        World *w = userdata;

        w->n_channels++;
        service_file_sent(w->service, w->channel_error);
}

static const ServiceHooks hooks = {hook_send_file, hook_open_channel, hook_mount, hook_failed, hook_finished};

static void turn(World *w) {
        while (sd_event_run(w->event, 0) > 0)
                continue;
}

/* Runs the manager's side and reads one packet, if one comes. */
static ssize_t receive(World *w) {
        size_t n_fds = 0;

        turn(w);
        w->got_fd = fd_close(w->got_fd);
        w->got_size = fd_receive(w->fd, w->got, sizeof w->got, &w->got_fd, 1, &n_fds, MSG_DONTWAIT);
        return w->got_size;
}

static void start_with(World *w, uint32_t granted, bool sync_init, const uint32_t *slots) {
        ServiceParameters parameters = {.type = &w->table.types[TABLE_SVC],
                                        .server_options = "offset=512",
                                        .granted = {.bits = granted},
                                        .sync_init = sync_init};
        int pair[2];

        memset(w, 0, sizeof *w);
        w->got_fd = -EBADF;
        table_fill(&w->table);
        parameters.table = &w->table.table;
        parameters.slots[0] = slots ? slots[0] : BROKER_SLOT_FILE;
        parameters.slots[1] = slots ? slots[1] : BROKER_SLOT_EMPTY;
        assert_int_equal(sd_event_new(&w->event), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        w->fd = pair[1];
        assert_int_equal(service_new(w->event, pair[0], &parameters, &hooks, w, &w->service), 0);
}

static void start(World *w) {
        start_with(w, 0, true, NULL);
}

static void done(World *w) {
        w->service = service_free(w->service);
        w->fd = fd_close(w->fd);
        w->got_fd = fd_close(w->got_fd);
        sd_event_unref(w->event);
}

static void say(World *w, const Packet *p) {
        assert_int_equal(packet_send(w->fd, p), 0);
}

/* The error in a REPL packet, or -1. */
static int reply_of(World *w) {
        uint32_t error;

        if (receive(w) != 8 || memcmp(w->got, "REPL", 4) != 0)
                return -1;
        memcpy(&error, w->got + 4, 4);
        return (int) ntohl(error);
}

/* The error in a FILE packet for that path, or -1. */
static int file_reply_of(World *w, const char *path) {
        uint32_t error;

        if (receive(w) != (ssize_t) (9 + strlen(path)) || memcmp(w->got, "FILE", 4) != 0 || strcmp((const char *) w->got + 8, path) != 0)
                return -1;
        memcpy(&error, w->got + 4, 4);
        return (int) ntohl(error);
}

static int ask(World *w, const Packet *p) {
        say(w, p);
        return reply_of(w);
}

/* Past hello, argv and fusedev. */
static void past_hello(World *w) {
        Packet p;

        assert_int_equal(receive(w), 12);
        say(w, packet_hello(&p, 1));
        assert_int_equal(file_reply_of(w, "argv"), 0);
        assert_true(w->got_fd >= 0);
        assert_int_equal(w->n_files, 1);
        assert_int_equal(w->file.what, 0);
        assert_string_equal(w->file.path, "fusedev");
}

static void past_commands(World *w) {
        Packet p;

        past_hello(w);
        assert_int_equal(ask(w, packet_number(&p, "TYPE", 0)), 0);
        assert_int_equal(ask(w, packet_string(&p, "NAME", "img")), 0);
        assert_int_equal(ask(w, packet_mountpoint(&p, 0x4000, "/mnt")), 0);
}

static void test_hello_and_argv(void **state) {
        /* ARGS, 5 entries, offsets and lengths big-endian; strings after each other */
        static const char *const words[] = {"svc", "/slots/source", "/mnt", "-o", "rw,offset=512"};
        uint8_t image[512];
        World w;

        start_with(&w, POLICY_OPTION_ALLOW_OTHER, true, NULL);
        assert_int_equal(receive(&w), 12);
        assert_memory_equal(w.got, "SAFT\0\1\0\1\0\0\0\1", 12); /* allow_other may be asked for */
        done(&w);

        start(&w);
        assert_int_equal(receive(&w), 12);
        assert_memory_equal(w.got, "SAFT\0\1\0\1\0\0\0\0", 12);
        Packet p;
        say(&w, packet_hello(&p, 1));
        assert_int_equal(file_reply_of(&w, "argv"), 0);
        ssize_t n = pread(w.got_fd, image, sizeof image, 0);
        assert_true(n > 48);
        assert_memory_equal(image, "ARGS\0\0\0\5", 8);
        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                uint32_t at, length;
                memcpy(&at, image + 8 + 8 * i, 4);
                memcpy(&length, image + 12 + 8 * i, 4);
                assert_true(ntohl(at) + ntohl(length) <= (size_t) n);
                assert_int_equal(ntohl(length), strlen(words[i]) + 1);
                assert_string_equal((const char *) image + ntohl(at), words[i]);
        }
        assert_int_equal(pwrite(w.got_fd, "x", 1, 0), -1); /* sealed */
        done(&w);
}

static void test_good(void **state) {
        Packet p;
        World w;

        start(&w);
        past_hello(&w);
        say(&w, packet_open(&p, "OPEN", O_RDWR | O_EXCL, "/slots/source"));
        turn(&w);
        assert_int_equal(w.n_files, 2);
        assert_int_equal(w.file.what, 1);
        assert_int_equal(w.file.open_flags, O_RDWR);
        assert_int_equal(w.file.path_size, sizeof "/slots/source");
        assert_int_equal(ask(&w, packet_number(&p, "TYPE", 0)), 0);
        assert_int_equal(ask(&w, packet_string(&p, "NAME", "my.img")), 0);
        assert_int_equal(ask(&w, packet_mountpoint(&p, 0x4000, "/mnt")), 0);
        assert_int_equal(ask(&w, packet_string(&p, "OPTS", "default_permissions,max_read=4096")), 0);
        assert_int_equal(ask(&w, packet_string(&p, "MTAB", "x-demo=1")), 0);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT | MS_RDONLY_)), 0); /* synchronous: before the mount is made */
        assert_int_equal(w.n_mounts, 1);
        assert_string_equal(w.mount.fsname, "my.img");
        assert_int_equal(w.mount.expected_format, S_IFDIR);
        assert_int_equal(w.mount.options, POLICY_OPTION_DEFAULT_PERMISSIONS | POLICY_OPTION_MAX_READ | POLICY_OPTION_RO);
        assert_int_equal(w.mount.max_read, 4096);
        say(&w, packet_number(&p, "BYEE", 0));
        turn(&w);
        assert_int_equal(w.n_finished + w.n_failed, 0);
        service_mounted(w.service, 0);
        assert_int_equal(w.n_finished, 1);
        done(&w);
}

/* Before Linux 6.18: MOUNT is answered when there is a superblock, not before, not after INIT. */
static void test_without_sync_init(void **state) {
        Packet p;
        World w;

        start_with(&w, 0, false, NULL);
        past_commands(&w);
        say(&w, packet_number(&p, "DOIT", MS_DEFAULT));
        assert_int_equal(receive(&w), -EAGAIN);
        assert_int_equal(w.n_mounts, 1);
        service_superblock_made(w.service);
        assert_int_equal(reply_of(&w), 0);
        service_mounted(w.service, 0);
        assert_int_equal(receive(&w), -EAGAIN); /* once */
        say(&w, packet_number(&p, "BYEE", 0));
        turn(&w);
        assert_int_equal(w.n_finished, 1);
        done(&w);

        start_with(&w, 0, false, NULL);
        past_commands(&w);
        say(&w, packet_number(&p, "DOIT", MS_DEFAULT));
        turn(&w);
        service_mounted(w.service, -EBUSY);
        assert_int_equal(reply_of(&w), EBUSY);
        done(&w);
}

static void test_opens(void **state) {
        static const struct {
                const char *magic, *path;
                uint32_t flags, request_flags;
                int error;
        } rows[] = {
                {"OPEN", "/etc/shadow", O_RDONLY, 0, EACCES},
                {"OPEN", "/slots/journal", O_RDONLY, 0, EACCES}, /* not bound */
                {"OPEN", "/slots/source/", O_RDONLY, 0, EACCES},
                {"OPEN", "/slots/../slots/source", O_RDONLY, 0, EACCES},
                {"OPEN", "/slots/source", O_RDWR | O_CREAT, 0, EACCES},
                {"OPEN", "/slots/source", O_RDWR | O_TRUNC, 0, EACCES},
                {"OPEN", "/slots/source", O_PATH, 0, EACCES},
                {"OPEN", "/slots/source", O_TMPFILE | O_RDWR, 0, EACCES},
                {"OPEN", "/slots/source", O_ACCMODE, 0, EACCES},
                {"OPEN", "/slots/source", O_RDONLY, 2, EINVAL},
                {"BDEV", "/slots/source", O_RDWR, 0, ENOTBLK}, /* a file */
        };
        Packet p;
        World w;

        start(&w);
        past_hello(&w);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                packet_open(&p, rows[i].magic, rows[i].flags, rows[i].path);
                p.data[15] = (uint8_t) rows[i].request_flags;
                say(&w, &p);
                assert_int_equal(file_reply_of(&w, rows[i].path), rows[i].error);
                assert_true(w.got_fd < 0);
        }
        assert_int_equal(w.n_files, 1); /* just the device: the broker was never asked */
        assert_true(service_n_refused(w.service) >= 8);

        say(&w, packet_open(&p, "OPEN", O_RDWR, "fused")); /* the broker sends it its end */
        turn(&w);
        assert_int_equal(w.n_channels, 1);
        w.channel_error = -EALREADY; /* once */
        say(&w, packet_open(&p, "OPEN", O_RDWR, "fused"));
        assert_int_equal(file_reply_of(&w, "fused"), EALREADY);

        w.file_error = -EROFS; /* the broker's no is handed on, and the server may go on */
        say(&w, packet_open(&p, "OPEN", O_RDWR, "/slots/source"));
        assert_int_equal(file_reply_of(&w, "/slots/source"), EROFS);
        w.file_error = 0;
        say(&w, packet_open(&p, "OPEN", O_RDONLY | O_EXCL, "/slots/source"));
        turn(&w);
        assert_int_equal(w.n_files, 3);
        assert_int_equal(w.n_failed, 0);
        done(&w);

        const uint32_t device[] = {BROKER_SLOT_DEVICE, BROKER_SLOT_FILE};
        start_with(&w, 0, true, device);
        past_hello(&w);
        say(&w, packet_open(&p, "BDEV", O_RDWR, "/slots/source"));
        turn(&w);
        assert_int_equal(w.file.what, 1);
        say(&w, packet_open(&p, "OPEN", O_RDWR, "/slots/journal"));
        turn(&w);
        assert_int_equal(w.file.what, 2);
        done(&w);
}

/* Each command malformed, out of order, repeated: an error, and the conversation goes on. */
static void test_refused_commands(void **state) {
        Packet p;
        World w;

        start(&w);
        past_hello(&w);
        assert_int_equal(ask(&w, packet_string(&p, "NAME", "img")), EINVAL);        /* before FSOPEN */
        assert_int_equal(ask(&w, packet_string(&p, "OPTS", "ro")), EINVAL);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT)), EINVAL);
        assert_int_equal(ask(&w, packet_number(&p, "TYPE", 2)), EINVAL);
        assert_int_equal(ask(&w, packet_number(&p, "TYPE", 1)), EPERM);              /* fuseblk */
        assert_int_equal(ask(&w, packet_number(&p, "TYPE", 0)), 0);
        assert_int_equal(ask(&w, packet_number(&p, "TYPE", 0)), EINVAL);             /* twice */
        assert_int_equal(ask(&w, packet_string(&p, "NAME", "a b")), EINVAL);
        assert_int_equal(ask(&w, packet_string(&p, "NAME", "x,suid")), EINVAL);
        assert_int_equal(ask(&w, packet_string(&p, "NAME", "")), EINVAL);
        char longest[400];
        memset(longest, 'a', sizeof longest - 1);
        longest[sizeof longest - 1] = 0;
        assert_int_equal(ask(&w, packet_string(&p, "NAME", longest)), EINVAL);
        packet_string(&p, "NAME", "img");
        p.size--;                                                                    /* no NUL */
        assert_int_equal(ask(&w, &p), EINVAL);
        assert_int_equal(ask(&w, packet_string(&p, "NAME", "img")), 0);
        assert_int_equal(ask(&w, packet_string(&p, "NAME", "img")), EINVAL);
        assert_int_equal(ask(&w, packet_mountpoint(&p, 0x4000, "/home")), EINVAL);
        assert_int_equal(ask(&w, packet_mountpoint(&p, 0x6000, "/mnt")), EINVAL);
        packet_mountpoint(&p, 0x4000, "/mnt");
        p.data[7] = 1;                                                               /* padding */
        assert_int_equal(ask(&w, &p), EINVAL);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT)), EINVAL);    /* no mount point yet */
        assert_int_equal(ask(&w, packet_mountpoint(&p, 0x8000, "/mnt")), 0);
        assert_int_equal(ask(&w, packet_mountpoint(&p, 0x8000, "/mnt")), EINVAL);
        assert_int_equal(ask(&w, packet_string(&p, "OPTS", "allow_other")), EPERM);
        assert_int_equal(ask(&w, packet_string(&p, "OPTS", "fd=0")), EINVAL);
        assert_int_equal(ask(&w, packet_string(&p, "OPTS", "default_permissions,user_id=0")), EINVAL);
        assert_int_equal(ask(&w, packet_string(&p, "OPTS", "rootmode=40000")), EINVAL);
        assert_int_equal(ask(&w, packet_string(&p, "OPTS", "default_permissions,,ro")), EINVAL);
        assert_int_equal(ask(&w, packet_string(&p, "OPTS", "suid")), EPERM);
        packet_number(&p, "DOIT", MS_DEFAULT);
        p.size = 7;
        assert_int_equal(ask(&w, &p), EINVAL);
        packet_number(&p, "DOIT", MS_DEFAULT);
        p.size = 9;
        assert_int_equal(ask(&w, &p), EINVAL);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", 0)), EPERM);              /* suid, dev */
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", 2)), EPERM);              /* dev */
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT | 0x80000000U)), EINVAL);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT | 0x1000U)), EINVAL); /* MS_BIND */
        say(&w, packet_open(&p, "OPEN", 0, ""));
        assert_int_equal(file_reply_of(&w, "?"), EINVAL);
        assert_int_equal(w.n_mounts, 0);
        assert_int_equal(w.n_failed, 0);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT)), 0); /* and still it can do right */
        assert_int_equal(w.n_mounts, 1);
        assert_int_equal(w.mount.options, 0); /* nothing of what was refused has stuck */
        done(&w);
}

/* What ends it. */
static void test_violations(void **state) {
        Packet p;
        World w;

        static const struct {
                const char *magic;
                uint16_t version, padding;
                size_t size;
        } hellos[] = {{"LASS", 1, 0, 8}, {"LAST", 0, 0, 8}, {"LAST", 2, 0, 8}, {"LAST", 1, 1, 8}, {"LAST", 1, 0, 7}, {"LAST", 1, 0, 9}};
        for (size_t i = 0; i < ELEMENTSOF(hellos); i++) {
                start(&w);
                packet_start(&p, hellos[i].magic);
                packet_u16(&p, hellos[i].version);
                packet_u16(&p, hellos[i].padding);
                p.data[8] = 0;
                p.size = hellos[i].size;
                say(&w, &p);
                turn(&w);
                assert_int_equal(w.n_failed, 1);
                assert_false(w.gone);
                assert_int_equal(w.n_files, 0);
                done(&w);
        }

        start(&w); /* unknown command */
        past_hello(&w);
        say(&w, packet_number(&p, "EVIL", 0));
        turn(&w);
        assert_int_equal(w.n_failed, 1);
        done(&w);

        start(&w); /* longer than any packet */
        past_hello(&w);
        packet_start(&p, "NAME");
        memset(p.data + 4, 'a', 66000);
        p.size = 66000;
        say(&w, &p);
        turn(&w);
        assert_int_equal(w.n_failed, 1);
        done(&w);

        start(&w); /* a descriptor; where the kernel can, it refuses to send it at all */
        past_hello(&w);
        packet_number(&p, "TYPE", 0);
        int r = fd_send(w.fd, p.data, p.size, &w.fd, 1);
        if (r == 0) {
                turn(&w);
                assert_int_equal(w.n_failed, 1);
        } else
                assert_int_equal(r, -EPERM);
        done(&w);

        start(&w); /* for ever */
        past_hello(&w);
        for (unsigned i = 0; i < SERVICE_PACKETS_MAX && w.n_failed == 0; i++) {
                say(&w, packet_number(&p, "DOIT", 0));
                (void) receive(&w);
        }
        assert_int_equal(w.n_failed, 1);
        assert_non_null(strstr(w.why, "more than"));
        done(&w);

        start(&w); /* after MOUNT */
        past_commands(&w);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT)), 0);
        say(&w, packet_number(&p, "DOIT", MS_DEFAULT));
        turn(&w);
        assert_int_equal(w.n_failed, 1);
        assert_int_equal(w.n_mounts, 1);
        done(&w);
}

static void test_goodbyes(void **state) {
        static const uint32_t codes[] = {1, 2, 4, 255, 256, UINT32_MAX};
        Packet p;
        World w;

        for (size_t i = 0; i < ELEMENTSOF(codes); i++) {
                start(&w);
                past_commands(&w);
                assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT)), 0);
                say(&w, packet_number(&p, "BYEE", codes[i]));
                turn(&w);
                assert_int_equal(w.n_failed, 1);
                done(&w);
        }

        start(&w); /* success without a mount is none */
        past_hello(&w);
        say(&w, packet_number(&p, "BYEE", 0));
        turn(&w);
        assert_int_equal(w.n_failed, 1);
        done(&w);

        start(&w); /* malformed */
        past_commands(&w);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT)), 0);
        packet_number(&p, "BYEE", 0);
        p.size = 6;
        say(&w, &p);
        turn(&w);
        assert_int_equal(w.n_failed, 1);
        done(&w);
}

/* It goes at each step. */
static void test_lost(void **state) {
        Packet p;

        for (int step = 0; step < 4; step++) {
                World w;
                start(&w);
                if (step == 1)
                        past_hello(&w);
                else if (step >= 2)
                        past_commands(&w);
                if (step == 3)
                        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT)), 0);
                w.fd = fd_close(w.fd);
                turn(&w);
                assert_int_equal(w.n_failed, 1);
                assert_true(w.gone);
                done(&w);
        }

        World w; /* after it is mounted it may hang up without a word */
        start(&w);
        past_commands(&w);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", MS_DEFAULT)), 0);
        service_mounted(w.service, 0);
        w.fd = fd_close(w.fd);
        turn(&w);
        assert_int_equal(w.n_failed, 0);
        assert_int_equal(w.n_finished, 1);
        done(&w);
}

static void test_granted_options(void **state) {
        const uint32_t granted = POLICY_OPTION_RO | POLICY_OPTION_ALLOW_OTHER | POLICY_OPTION_DEFAULT_PERMISSIONS | POLICY_OPTION_SUID;
        Packet p;
        World w;

        start_with(&w, granted, true, NULL);
        past_commands(&w);
        assert_int_equal(ask(&w, packet_string(&p, "OPTS", "allow_other")), 0);
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", 0)), EPERM); /* suid is granted, dev is not */
        assert_int_equal(ask(&w, packet_number(&p, "DOIT", 4 | 0x400)), 0);
        assert_int_equal(w.mount.options, granted | POLICY_OPTION_NOATIME); /* ro stays though the server did not ask */
        done(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_hello_and_argv),
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_without_sync_init),
                cmocka_unit_test(test_opens),
                cmocka_unit_test(test_refused_commands),
                cmocka_unit_test(test_violations),
                cmocka_unit_test(test_goodbyes),
                cmocka_unit_test(test_lost),
                cmocka_unit_test(test_granted_options),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
