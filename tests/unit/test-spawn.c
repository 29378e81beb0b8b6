/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Command lines of servers, and the agent's orders. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/spec.h"
#include "base/fd.h"
#include "launcher/launcher.h"

typedef struct SmallTable {
        PolicyTable head;
        PolicyType type;
        uint32_t arguments[8] __attribute__((aligned(8)));
        struct sock_filter filters[2] __attribute__((aligned(8)));
        char strings[8192] __attribute__((aligned(8)));
        uint32_t used;
} SmallTable;

static uint32_t offset_in(const SmallTable *table, const void *field) {
        return (uint32_t) ((const char *) field - (const char *) table);
}

static uint32_t add(SmallTable *table, const char *text) {
        uint32_t at = table->used;

        memcpy(table->strings + at, text, strlen(text) + 1);
        table->used += (uint32_t) strlen(text) + 1;
        return at;
}

static void fill(SmallTable *table, SpawnRequest *request, const char *const *words, size_t n) {
        static const SpawnSlot slots[] = {{.path = "/slots/source", .fd = 7, .writable = true},
                                          {.path = "/slots/journal", .fd = -EBADF},
                                          {.path = "/slots/other", .fd = 9}};

        *table = (SmallTable){.used = 1};
        table->head.arguments = (PolicyArray){offset_in(table, table->arguments), ELEMENTSOF(table->arguments)};
        table->head.filters = (PolicyArray){offset_in(table, table->filters), ELEMENTSOF(table->filters)};
        table->head.strings = (PolicyArray){offset_in(table, table->strings), sizeof table->strings};
        table->type.program = add(table, "/usr/bin/server");
        table->type.filter.count = 2;
        table->filters[0].k = 11;
        table->filters[1].k = 22;
        for (size_t i = 0; i < n; i++)
                table->arguments[i] = add(table, words[i]);
        table->type.arguments.count = (uint32_t) n;
        *request = (SpawnRequest){.table = &table->head, .type = &table->type, .slots = slots,
                                  .n_slots = ELEMENTSOF(slots), .server_options = ""};
}

static void assert_expands(const char *word, const char *expected, bool read_only, const char *options) {
        SmallTable *table = calloc(1, sizeof *table);
        SpawnArguments arguments = {0};
        SpawnRequest request;

        fill(table, &request, &word, 1);
        request.read_only = read_only;
        request.server_options = options;
        assert_int_equal(spawn_arguments_expand(&request, &arguments), 0);
        assert_int_equal(arguments.n_words, 2);
        assert_string_equal(arguments.words[0], "/usr/bin/server");
        assert_string_equal(arguments.words[1], expected);
        assert_null(arguments.words[2]);
        assert_int_equal(arguments.names_fuse_fd, strstr(word, "%d") != NULL);
        spawn_arguments_done(&arguments);
        free(table);
}

static void test_specifiers(void **state) {
        assert_expands("plain", "plain", false, "");
        assert_expands("", "", false, "");
        assert_expands("%s", "/slots/source", false, "");
        assert_expands("--journal=%{journal}:%{source}", "--journal=/slots/journal:/slots/source", false, "");
        assert_expands("%d", "/dev/fd/3", false, "");
        assert_expands("%m", "/mnt", false, "");
        assert_expands("100%%", "100%", false, "");
        assert_expands("%o", "rw", false, "");
        assert_expands("%o", "ro", true, NULL);
        assert_expands("%o,fakeroot", "ro,offset=4096,quiet,fakeroot", true, "offset=4096,quiet");
}

static void assert_refused(const char *word, const char *options, int error) {
        SmallTable *table = calloc(1, sizeof *table);
        SpawnArguments arguments = {0};
        SpawnRequest request;

        fill(table, &request, &word, 1);
        request.server_options = options;
        assert_int_equal(spawn_arguments_expand(&request, &arguments), error);
        assert_int_equal(arguments.n_words, 0); /* untouched */
        free(table);
}

static void test_refusals(void **state) {
        char *large = malloc(5000);

        assert_non_null(large);
        memset(large, 'x', 4999);
        large[4999] = 0;
        assert_refused("%x", "", -EINVAL);
        assert_refused("%", "", -EINVAL);
        assert_refused("%{nothing}", "", -EINVAL);
        assert_refused("%{sourc}", "", -EINVAL);
        assert_refused("%{source", "", -EINVAL);
        assert_refused("%o", large, -E2BIG);
        assert_refused(large, "", -E2BIG);
        free(large);
}

static void test_spec(void **state) {
        static const char *const words[] = {"-f", "%d"};
        SmallTable *table = calloc(1, sizeof *table);
        SpawnArguments arguments = {0};
        SpawnRequest request;
        int fd = -EBADF;

        fill(table, &request, words, ELEMENTSOF(words));
        assert_int_equal(spawn_arguments_expand(&request, &arguments), 0);
        assert_int_equal(spawn_agent_spec(&request, &arguments, AGENT_FIRST_SLOT_FD, &fd), 0);
        const AgentSpec *spec = mmap(NULL, sizeof *spec + 4096, PROT_READ, MAP_PRIVATE, fd, 0);
        assert_ptr_not_equal(spec, MAP_FAILED);
        assert_int_equal(spec->magic, AGENT_SPEC_MAGIC);
        assert_int_equal(spec->size, lseek(fd, 0, SEEK_END));
        assert_int_equal(spec->n_slots, 3);
        assert_string_equal(spec->slots[0].path, "/slots/source");
        assert_int_equal(spec->slots[0].fd, AGENT_FIRST_SLOT_FD);
        assert_int_equal(spec->slots[0].writable, 1);
        assert_int_equal(spec->slots[1].fd, -1); /* empty slots take no number */
        assert_int_equal(spec->slots[2].fd, AGENT_FIRST_SLOT_FD + 1);
        assert_int_equal(spec->slots[2].writable, 0);
        assert_int_equal(spec->n_arguments, 3);
        assert_string_equal((const char *) spec + spec->arguments[2], "/dev/fd/3");
        assert_int_equal(spec->server_has_fuse, 1);
        assert_int_equal(spec->n_filter, 2);
        assert_int_equal(((const struct sock_filter *) (spec + 1))[1].k, 22);
        /* sealed: nobody can change the orders on their way */
        assert_int_equal(write(fd, "x", 1), -1);
        assert_int_equal(ftruncate(fd, 0), -1);
        assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
        (void) munmap((void *) spec, sizeof *spec + 4096);
        (void) fd_close(fd);
        spawn_arguments_done(&arguments);
        free(table);
}

/* In a child, as it closes everything: what lies where afterwards, judged by what can be read from it. */
static void test_place_fds(void **state) {
        int pair[2], status_pair[2];
        char answer = 0;

        assert_int_equal(pipe(pair), 0);
        assert_int_equal(pipe(status_pair), 0);
        if (fork() == 0) {
                int fds[] = {-EBADF, status_pair[1], pair[1], pair[0], pair[0]};
                bool ok = child_place_fds(fds, ELEMENTSOF(fds)) == 0 && fcntl(0, F_GETFD) < 0 && fcntl(5, F_GETFD) < 0 &&
                          fcntl(3, F_GETFD) == 0 && write(2, "ab", 2) == 2 && read(3, &answer, 1) == 1 && answer == 'a' &&
                          read(4, &answer, 1) == 1 && answer == 'b';
                (void) write(1, ok ? "y" : "n", 1);
                _exit(0);
        }
        (void) close(status_pair[1]);
        assert_int_equal(read(status_pair[0], &answer, 1), 1);
        assert_int_equal(answer, 'y');
        (void) close(status_pair[0]);
        (void) close(pair[0]);
        (void) close(pair[1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_specifiers),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_spec),
                cmocka_unit_test(test_place_fds),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
