/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mirror's nodes, on a directory of the test, without FUSE: what the kernel would ask for is asked by the test. */

#include "mirror/mirror.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define CROWD 40
#define CROWD_HIGH 10

static struct {
        char path[64];
        fuse_ino_t crowd[CROWD]; /* looked up as "0", "1"...: what the kernel holds */
        unsigned n_asked;
} t;

/* attributes.c is not linked: files show as they are. */
void show_owner(fuse_req_t req, struct stat *st) {}

/* The kernel: drops the name that it is asked to drop, and forgets the inode. */
int fuse_lowlevel_notify_inval_entry(struct fuse_session *session, fuse_ino_t parent, const char *name, size_t length) {
        int i = atoi(name);

        assert_int_equal(parent, FUSE_ROOT_ID);
        assert_int_equal(strlen(name), length);
        t.n_asked++;
        if (t.crowd[i] && i % 4 != 0) { /* every fourth is in use: it stays */
                node_forget(node_of(t.crowd[i]), 1);
                t.crowd[i] = 0;
        }
        return 0;
}

static int begin(void **state) {
        (void) snprintf(t.path, sizeof t.path, "/tmp/test-mirror-XXXXXX");
        if (!mkdtemp(t.path))
                return -1;
        mirror.root.fd = open(t.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        mirror.root.n_ref = 1;
        mirror.n_nodes_high = 1000;
        return mirror.root.fd < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk) {
        return remove(path);
}

static int end(void **state) {
        mirror.root.fd = fd_close(mirror.root.fd);
        return nftw(t.path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void make_file(const char *name, const char *content) {
        _cleanup_fd_ int fd = openat(mirror.root.fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_int_equal(write(fd, content, strlen(content)), strlen(content));
}

static Node *look_up(Node *parent, const char *name) {
        struct fuse_entry_param entry;

        assert_int_equal(node_lookup(NULL, parent, name, &entry), 0);
        assert_int_equal(entry.attr.st_ino, node_of(entry.ino)->inode);
        return node_of(entry.ino);
}

static void assert_content(Node *node, const char *content) {
        _cleanup_fd_ int fd = node_open(node, O_RDONLY);
        char got[32] = "";

        assert_true(fd >= 0);
        assert_int_equal(read(fd, got, sizeof got - 1), strlen(content));
        assert_string_equal(got, content);
}

static void test_counts(void **state) {
        make_file("a", "A");
        Node *a = look_up(&mirror.root, "a");
        int fd = a->fd;
        assert_ptr_equal(look_up(&mirror.root, "a"), a);
        assert_int_equal(linkat(mirror.root.fd, "a", mirror.root.fd, "b", 0), 0);
        assert_ptr_equal(look_up(&mirror.root, "b"), a); /* an inode, not a name */
        assert_int_equal(a->n_lookup, 3);
        assert_int_equal(mirror.n_nodes, 1);
        assert_int_equal(mirror.root.n_ref, 2);
        node_forget(a, 2);
        assert_content(a, "A");
        node_forget(a, 1);
        assert_int_equal(mirror.n_nodes, 0);
        assert_int_equal(mirror.root.n_ref, 1);
        assert_true(fcntl(fd, F_GETFD) < 0); /* closed */
        assert_null(mirror.oldest);
        assert_null(mirror.newest);
}

/* A directory stays while something below it is known, whatever is forgotten first. */
static void test_parent_outlives(void **state) {
        assert_int_equal(mkdirat(mirror.root.fd, "d", 0700), 0);
        make_file("d/f", "F");
        Node *d = look_up(&mirror.root, "d"), *f = look_up(d, "f");
        node_forget(d, 1);
        assert_int_equal(mirror.n_nodes, 2);
        assert_content(f, "F");
        node_forget(f, 1);
        assert_int_equal(mirror.n_nodes, 0);
        node_forget(&mirror.root, 1); /* is never forgotten */
        assert_int_equal(mirror.root.n_ref, 1);
}

static void test_stays_inside(void **state) {
        static const char *const names[] = {"..", ".", "../x", "a/b", "/etc", "/"};
        struct fuse_entry_param entry;
        struct stat st;

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(node_lookup(NULL, &mirror.root, names[i], &entry), -EINVAL);
        assert_int_equal(node_lookup(NULL, &mirror.root, "absent", &entry), -ENOENT);
        assert_int_equal(symlinkat("/etc", mirror.root.fd, "link"), 0);
        Node *link = look_up(&mirror.root, "link"); /* the link itself */
        assert_int_equal(fstat(link->fd, &st), 0);
        assert_true(S_ISLNK(st.st_mode));
        assert_int_equal(node_lookup(NULL, link, "passwd", &entry), -ENOTDIR);
        assert_int_equal(node_open(link, O_RDONLY), -ELOOP);
        node_forget(link, 1);
        assert_int_equal(mirror.n_nodes, 0);
}

static void test_renamed(void **state) {
        assert_int_equal(mkdirat(mirror.root.fd, "d", 0700), 0);
        make_file("a", "A");
        make_file("d/b", "B");
        Node *a = look_up(&mirror.root, "a"), *d = look_up(&mirror.root, "d"), *b = look_up(d, "b");
        assert_int_equal(renameat2(mirror.root.fd, "a", d->fd, "b", RENAME_EXCHANGE), 0);
        assert_int_equal(node_open(a, O_RDONLY), -ESTALE); /* its name is another's, until that is known */
        node_renamed(&mirror.root, "a", d, "b", true);
        assert_content(a, "A");
        assert_content(b, "B");
        assert_int_equal(renameat2(d->fd, "b", mirror.root.fd, "c", 0), 0);
        node_renamed(d, "b", &mirror.root, "c", false);
        assert_content(a, "A");
        assert_string_equal(a->name, "c");
        assert_ptr_equal(a->parent, &mirror.root);
        node_forget(a, 1);
        node_forget(d, 1);
        node_forget(b, 1);
        assert_int_equal(mirror.n_nodes, 0);
        assert_int_equal(mirror.root.n_ref, 1);
}

/* Another file came by its name behind our back: it is neither opened nor cut off. */
static void test_replaced(void **state) {
        make_file("a", "old");
        Node *a = look_up(&mirror.root, "a");
        make_file("new", "other");
        assert_int_equal(renameat(mirror.root.fd, "new", mirror.root.fd, "a"), 0);
        assert_int_equal(node_open(a, O_RDONLY), -ESTALE);
        assert_int_equal(node_open(a, O_WRONLY | O_TRUNC), -ESTALE);
        Node *other = look_up(&mirror.root, "a");
        assert_ptr_not_equal(other, a);
        assert_content(other, "other");
        int fd = node_open(other, O_WRONLY | O_TRUNC);
        assert_true(fd >= 0);
        (void) fd_close(fd);
        assert_content(other, "");
        node_forget(a, 1);
        node_forget(other, 1);
}

static void test_unlinked(void **state) {
        struct stat st;

        make_file("a", "A");
        Node *a = look_up(&mirror.root, "a");
        int fd = node_open(a, O_RDWR);
        assert_true(fd >= 0);
        node_opened(a, fd);
        assert_int_equal(unlinkat(mirror.root.fd, "a", 0), 0);
        assert_int_equal(node_open(a, O_RDONLY), -ESTALE);
        int any = node_open_any(a, O_RDONLY);
        assert_true(any >= 0 && any != fd);
        assert_true(node_is(any, a));
        assert_int_equal(fchmod(any, 0640), 0);
        assert_int_equal(fstat(a->fd, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0640);
        assert_int_equal(st.st_nlink, 0);
        (void) fd_close(any);
        node_closing(a, fd);
        (void) fd_close(fd);
        assert_int_equal(node_open_any(a, O_RDONLY), -ESTALE);
        node_forget(a, 1);
}

static void test_never_blocks(void **state) {
        assert_int_equal(mkfifoat(mirror.root.fd, "fifo", 0600), 0);
        Node *fifo = look_up(&mirror.root, "fifo");
        assert_int_equal(node_open(fifo, O_WRONLY), -ENXIO);
        node_forget(fifo, 1);
}

static void test_no_descriptors(void **state) {
        struct fuse_entry_param entry;
        struct rlimit before, none;
        int r;

        make_file("a", "A");
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        none = before;
        none.rlim_cur = 3;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        r = node_lookup(NULL, &mirror.root, "a", &entry);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(r, -ENFILE);
        assert_int_equal(mirror.n_nodes, 0);
}

static size_t count_nodes(void) {
        (void) pthread_mutex_lock(&mirror.lock);
        size_t n = mirror.n_nodes;
        (void) pthread_mutex_unlock(&mirror.lock);
        return n;
}

/* Above the mark the kernel is asked to let go of the oldest, until it is below; what is in use stays. */
static void test_trimming(void **state) {
        pthread_t trimmer;
        char name[16];

        mirror.n_nodes_high = CROWD_HIGH;
        mirror.stopping = false;
        t.n_asked = 0;
        for (unsigned i = 0; i < CROWD; i++) {
                (void) snprintf(name, sizeof name, "%u", i);
                make_file(name, "");
                t.crowd[i] = node_id(look_up(&mirror.root, name));
        }
        assert_int_equal(count_nodes(), CROWD);
        assert_int_equal(pthread_create(&trimmer, NULL, node_trim_thread, NULL), 0);
        for (unsigned i = 0; i < 5000 && count_nodes() > CROWD_HIGH; i++)
                (void) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        assert_int_equal(count_nodes(), CROWD_HIGH);
        assert_true(t.n_asked >= CROWD - CROWD_HIGH && t.n_asked <= CROWD + 1);
        assert_true(t.crowd[0] && !t.crowd[1] && t.crowd[CROWD - 4]);
        (void) pthread_mutex_lock(&mirror.lock);
        mirror.stopping = true;
        (void) pthread_cond_signal(&mirror.crowded);
        (void) pthread_cond_signal(&mirror.crowded_pause);
        (void) pthread_mutex_unlock(&mirror.lock);
        assert_int_equal(pthread_join(trimmer, NULL), 0);
        for (unsigned i = 0; i < CROWD; i++)
                if (t.crowd[i])
                        node_forget(node_of(t.crowd[i]), 1);
        assert_int_equal(mirror.n_nodes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, begin, end)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(counts),   TEST(parent_outlives), TEST(stays_inside),   TEST(renamed),  TEST(replaced),
                TEST(unlinked), TEST(never_blocks),    TEST(no_descriptors), TEST(trimming),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
