/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading policy files: what a good one becomes, the message of each kind of mistake, layers, drop-ins, masks and who
 * may write. Only root's files are read, so it takes root. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/load.h"

#define PROGRAM "/bin/true"
#define GOOD "[Type]\nProgram=" PROGRAM "\nHandOver=service\n" /* three lines */

typedef struct Place { /* a temporary directory with two layers */
        char path[64];
        char low[80], high[80];
        const char *layers[2];
        /* of the last load() */
        TypeFiles *files;
        size_t n;
        DraftType *drafts;
        DraftMain main;
        char *messages;
        unsigned n_mistakes;
} Place;

static int setup(void **state) {
        Place *place = calloc(1, sizeof *place);

        if (!place)
                return -1;
        *state = place;
        strcpy(place->path, "/tmp/test-policy-load.XXXXXX");
        if (!mkdtemp(place->path))
                return -1;
        (void) snprintf(place->low, sizeof place->low, "%s/usr", place->path);
        (void) snprintf(place->high, sizeof place->high, "%s/etc", place->path);
        place->layers[0] = place->low;
        place->layers[1] = place->high;
        return 0;
}

static void loaded_done(Place *place) {
        for (size_t i = 0; i < place->n; i++) {
                type_files_done(&place->files[i]);
                draft_type_done(&place->drafts[i]);
        }
        free(place->files);
        free(place->drafts);
        draft_main_done(&place->main);
        free(place->messages);
        place->files = NULL;
        place->drafts = NULL;
        place->messages = NULL;
        place->n = 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
        return remove(path);
}

static void empty(Place *place) {
        (void) nftw(place->low, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        (void) nftw(place->high, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int teardown(void **state) {
        Place *place = *state;

        loaded_done(place);
        empty(place);
        (void) rmdir(place->path);
        free(place);
        return 0;
}

static Place *place_of(void **state) {
        if (geteuid() != 0)
                skip();
        return *state;
}

static void make_directories(char *path) {
        for (char *p = path + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                (void) mkdir(path, 0755);
                *p = '/';
        }
}

static void put(const char *layer, const char *name, const char *text) {
        char path[256];
        FILE *file;

        (void) snprintf(path, sizeof path, "%s/%s", layer, name);
        make_directories(path);
        file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(chmod(path, 0644), 0);
}

static void load(Place *place) {
        _cleanup_(type_files_done) TypeFiles main_files = {0};
        Mistakes mistakes = {0};
        size_t size, n = 0;

        loaded_done(place);
        mistakes.stream = open_memstream(&place->messages, &size);
        assert_non_null(mistakes.stream);
        assert_int_equal(find_main(place->layers, 2, &mistakes, &main_files), 0);
        assert_int_equal(draft_main(&main_files, &mistakes, &place->main), 0);
        assert_int_equal(find_types(place->layers, 2, &mistakes, &place->files, &n), 0);
        place->drafts = calloc(n + 1, sizeof *place->drafts);
        place->n = n;
        for (size_t i = 0; i < n; i++) {
                int r = draft_type(&place->files[i], &mistakes, &place->drafts[i]);
                assert_true(r == 0 || r == -ENOENT);
                if (r == -ENOENT) /* masked: the caller leaves it out */
                        draft_type_done(&place->drafts[i]);
        }
        place->n_mistakes = mistakes.n;
        free(mistakes.first);
        assert_int_equal(fclose(mistakes.stream), 0);
}

/* NULL: there is no such type, or it is masked. */
static DraftType *draft_of(Place *place, const char *name) {
        for (size_t i = 0; i < place->n; i++)
                if (strcmp(place->drafts[i].type.name, name) == 0)
                        return &place->drafts[i];
        return NULL;
}

static void expect_message(const Place *place, const char *layer, const char *rest) {
        char wanted[512];

        (void) snprintf(wanted, sizeof wanted, "fused-policy: %s/%s", layer, rest);
        if (!place->messages || !strstr(place->messages, wanted))
                fail_msg("expected '%s', got '%s'", wanted, place->messages);
}

/* ---- a good file ------------------------------------------------------------------------------------------------- */

static const char good_type[] =
        "# comment\n[Type]\nDescription=\"All of it\"\nProgram=" PROGRAM
        "\nArguments=-f %s  -o\t%o,x %{journal} %d %m 100%%\n"
        "HandOver=fd\nReadOnly=yes\nIomap=yes\nServerOptions=quiet offset=\n\n"
        "[Slot journal]\nAccept=none file\nRequired=no\n[Slot source]\nAccept=file device tree\nWritable=yes\n"
        "[Sandbox]\nFiles=/etc/passwd /etc/group\nSystemCalls=+getpriority -kill\n"
        "[Limits]\nMemory=512M\nProcesses=16\nOpenFiles=64\nCPU=250%\nOomScore=300\n"
        "[Deadlines]\nStart=500ms\nInit=2min\nStop=7\n"
        "[Allow root]\nUsers=root\nSources=file device\nDevices=/dev/disk/by-id/usb-* 8:* *:3 loop:/srv/a\n"
        "Options=allow_other suid dev\nAdministrator=yes\n"
        "[Allow everybody]\nUsers=* 1000\nGroups=0 root\nSources=file\n";

static void check_good(const DraftType *d) {
        static const char *const arguments[] = {"-f", "%s", "-o", "%o,x", "%{journal}", "%d", "%m", "100%%"};

        assert_string_equal(d->description, "All of it");
        assert_string_equal(d->program, PROGRAM);
        assert_int_equal(d->n_arguments, ELEMENTSOF(arguments));
        for (size_t i = 0; i < ELEMENTSOF(arguments); i++)
                assert_string_equal(d->arguments[i], arguments[i]);
        assert_int_equal(d->type.hand_over, POLICY_HAND_OVER_FD);
        assert_int_equal(d->type.read_only, 1);
        assert_int_equal(d->type.iomap, 1);
        assert_string_equal(d->server_options, "quiet,offset=");
        assert_int_equal(d->n_slots, 2);
        assert_string_equal(d->slots[0].name, "source"); /* first, wherever it stands */
        assert_int_equal(d->slots[0].sources, POLICY_SOURCE_FILE | POLICY_SOURCE_DEVICE | POLICY_SOURCE_TREE);
        assert_true(d->slots[0].required && d->slots[0].writable);
        assert_string_equal(d->slots[1].name, "journal");
        assert_int_equal(d->slots[1].sources, POLICY_SOURCE_NONE | POLICY_SOURCE_FILE);
        assert_true(!d->slots[1].required && !d->slots[1].writable);
        assert_int_equal(d->n_extra_files, 2);
        assert_int_equal(d->n_calls, 2);
        assert_int_equal(d->type.max_memory, 512 << 20);
        assert_int_equal(d->type.max_processes, 16);
        assert_int_equal(d->type.max_open_files, 64);
        assert_int_equal(d->type.max_cpu_percent, 250);
        assert_int_equal(d->type.oom_score, 300);
        assert_int_equal(d->type.start_usec, 500 * USEC_PER_MSEC);
        assert_int_equal(d->type.init_usec, 120 * USEC_PER_SEC);
        assert_int_equal(d->type.stop_usec, 7 * USEC_PER_SEC);
        assert_true(d->n_filter > 50 && d->n_filter <= POLICY_FILTER_MAX);
}

static void check_good_rules(const DraftType *d) {
        assert_int_equal(d->n_rules, 2);
        assert_string_equal(d->rules[0].rule.name, "root");
        assert_true(d->rules[0].rule.administrator);
        assert_int_equal(d->rules[0].rule.options, POLICY_OPTION_ALLOW_OTHER | POLICY_OPTION_SUID | POLICY_OPTION_DEV);
        assert_int_equal(d->rules[0].n_devices, 4);
        assert_int_equal(d->rules[0].devices[0].kind, POLICY_DEVICE_PATH);
        assert_string_equal(d->rules[0].device_paths[0], "disk/by-id/usb-*");
        assert_int_equal(d->rules[0].devices[1].major, 8);
        assert_int_equal(d->rules[0].devices[1].minor, POLICY_ID_ANY);
        assert_int_equal(d->rules[0].devices[2].major, POLICY_ID_ANY);
        assert_int_equal(d->rules[0].devices[2].minor, 3);
        assert_int_equal(d->rules[0].devices[3].kind, POLICY_DEVICE_LOOP);
        assert_string_equal(d->rules[0].device_paths[3], "/srv/a");
        /* Users= follows Administrator= of the section above, and Sources= follows ...: none of them is lost. */
        assert_int_equal(d->rules[1].n_uids, 2);
        assert_int_equal(d->rules[1].uids[0], POLICY_ID_ANY);
        assert_int_equal(d->rules[1].uids[1], 1000);
        assert_int_equal(d->rules[1].n_gids, 2);
        assert_int_equal(d->rules[1].rule.sources, POLICY_SOURCE_FILE);
        assert_false(d->rules[1].rule.administrator);
        assert_int_equal(d->rules[1].rule.options, 0);
}

static bool has_number(const DraftType *d, uint32_t number) {
        const struct sock_filter *code = d->filter;

        for (size_t i = 0; i < d->n_filter; i++)
                if (BPF_CLASS(code[i].code) == BPF_JMP && code[i].k == number)
                        return true;
        return false;
}

/* What a server may call of fuse-iomap is in its filter only if its type says so. */
static void test_iomap(void **state) {
        static const char *const texts[] = {GOOD, GOOD "Iomap=no\n", GOOD "Iomap=yes\n"};
        Place *place = place_of(state);

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                empty(place);
                put(place->low, "types/mapping.conf", texts[i]);
                load(place);
                assert_string_equal(place->messages, "");
                assert_true(has_number(&place->drafts[0], 0x8004e500)); /* FUSE_DEV_IOC_CLONE */
                for (size_t k = 0; k < 3; k++)
                        assert_int_equal(has_number(&place->drafts[0], (const uint32_t[]){0x4008e566, 0x4008e563, 0x4004e564}[k]), i == 2);
        }
}

static void test_good(void **state) {
        Place *place = place_of(state);
        void *table _cleanup_free_ = NULL;
        size_t size = 0;

        empty(place);
        put(place->low, "types/good.conf", good_type);
        put(place->low, "fused.conf",
            "[Supervisor]\nUids=100000-100009\nMaxMounts=7\nManagerUser=nobody\n"
            "[User root]\nMaxFds=unlimited\n[Limits]\nMaxFds=10\nMaxPending=3\n[User 1000]\nMaxPending=0\n");
        load(place);
        assert_string_equal(place->messages, "");
        assert_int_equal(place->n, 1);
        assert_null(place->drafts[0].disabled);
        check_good(&place->drafts[0]);
        check_good_rules(&place->drafts[0]);
        assert_int_equal(place->main.uid_first, 100000);
        assert_int_equal(place->main.uid_count, 10);
        assert_int_equal(place->main.max_mounts, 7);
        assert_int_equal(place->main.limits.max_fds, 10);
        assert_int_equal(place->main.limits.max_mounts, 256);

        assert_int_equal(make_table(&place->main, place->drafts, place->n, &table, &size), 0);
        assert_int_equal(policy_table_validate(table, size), 0);
        const PolicyTable *t = table;
        const PolicyType *type = policy_type_by_name(t, "good", NULL);
        assert_non_null(type);
        assert_string_equal(policy_string(t, type->program), PROGRAM);
        assert_string_equal(policy_argument(t, type, 3), "%o,x");
        assert_string_equal(policy_string(t, policy_slot(t, type, 1)->path), "/slots/journal");
        assert_string_equal(policy_string(t, policy_device(t, policy_rule(t, type, 0), 3)->path), "/srv/a");
        assert_memory_equal(policy_filter(t, type), place->drafts[0].filter, type->filter.count * 8);
        assert_string_equal(policy_file(t, type->files, 0), PROGRAM);
        assert_string_equal(policy_file(t, type->files, type->files.count - 1), "/etc/group");
        PolicyPlace said;
        /* [User] begins with a copy of [Limits], wherever that stands. */
        assert_int_equal(policy_limits(t, 0, &said)->max_fds, UINT32_MAX);
        assert_int_equal(policy_limits(t, 0, NULL)->max_pending, 3);
        assert_int_equal(said.line, 6);
        assert_int_equal(policy_limits(t, 1000, NULL)->max_pending, 0);
        assert_int_equal(policy_limits(t, 1001, &said)->max_pending, 3);
        assert_true(strstr(policy_string(t, said.file), "/usr/fused.conf") != NULL);
}

static void test_defaults(void **state) {
        Place *place = place_of(state);

        empty(place);
        put(place->low, "types/x.conf", "[Type]\nProgram=" PROGRAM "\n[Slot source]\nWritable=no\n");
        load(place);
        assert_string_equal(place->messages, "");
        const DraftType *d = draft_of(place, "x");
        assert_int_equal(d->type.hand_over, POLICY_HAND_OVER_FD);
        assert_int_equal(d->type.max_memory, 1 << 30);
        assert_int_equal(d->type.max_processes, 64);
        assert_int_equal(d->type.max_open_files, 256);
        assert_int_equal(d->type.oom_score, 200);
        assert_int_equal(d->type.iomap, 0);
        assert_int_equal(d->type.max_cpu_percent, 0);
        assert_int_equal(d->type.start_usec, 10 * USEC_PER_SEC);
        assert_int_equal(d->type.init_usec, 10 * USEC_PER_SEC);
        assert_int_equal(d->type.stop_usec, 20 * USEC_PER_SEC);
        assert_int_equal(d->slots[0].sources, POLICY_SOURCE_FILE);
        assert_true(d->slots[0].required);
        assert_int_equal(place->main.uid_first, 1879048192);
        assert_int_equal(place->main.uid_first + place->main.uid_count - 1, 1879113727);
        assert_int_equal(place->main.max_mounts, 4096);
        assert_int_equal(place->main.limits.max_mounts, 256);
        assert_int_equal(place->main.limits.max_pending, 16);
        assert_int_equal(place->main.limits.max_fds, 4096);
        assert_int_equal(place->main.limits.max_processes, 1024);
        assert_true(place->main.manager_uid != 0 && place->main.manager_gid != 0);
}

/* libeconf 0.5 does not list a key that has the name of the line before it, in the section above. */
static void test_same_key_next_section(void **state) {
        Place *place = place_of(state);

        empty(place);
        put(place->low, "types/x.conf",
            GOOD
            "[Allow a]\nUsers=root\n[Allow b]\nUsers=*\nSources=file\n[Allow c]\nSources=tree\nUsers=1\n"
            "[Allow d]\nUsers=2\n");
        load(place);
        assert_string_equal(place->messages, "");
        const DraftType *d = draft_of(place, "x");
        assert_int_equal(d->n_rules, 4);
        for (size_t i = 0; i < 4; i++)
                assert_int_equal(d->rules[i].n_uids, 1);
        assert_int_equal(d->rules[1].uids[0], POLICY_ID_ANY);
        assert_int_equal(d->rules[2].rule.sources, POLICY_SOURCE_TREE);
        assert_int_equal(d->rules[3].uids[0], 2);
}

/* ---- mistakes ---------------------------------------------------------------------------------------------------- */

typedef struct MistakeRow {
        const char *text;    /* behind the three lines of GOOD, or all of fused.conf */
        const char *message; /* behind the file's name */
} MistakeRow;

static const MistakeRow type_mistakes[] = {
        {"[Sauce]\nx=1\n", ":5: x: there is no section [Sauce]"},
        {"Progam=/x\n", ":4: Progam: there is no such key in [Type]"},
        {"Users=root\n", ":4: Users: there is no such key in [Type]"},
        {"[Supervisor]\nMaxMounts=1\n", ":5: MaxMounts: there is no section [Supervisor]"},
        {"HandOver=fd\n", ":3: HandOver: is set twice in this section"},
        {"[Limits]\nMemory=1G\nCPU=100%\nMemory=2G\n", ":5: Memory: is set twice in this section"},
        {"[Limits]\nMemory=1G\n  more\n", ": Memory: is set twice in this section, or the next line is neither"},
        {"[Limits\nMemory=1G\n", ":4: "},
        {"[Limits] x\nMemory=1G\n", ":4: "},
        {"\nsome words\n", ":5: "},
        {"\nword\n", ":5: word: there is no such key in [Type]"},
        {"[Type two]\nReadOnly=no\n", ":5: ReadOnly: section [Type two] takes no name"},
        {"ReadOnly=true\n", ":4: ReadOnly: must be yes or no"},
        {"Iomap=kernel\n", ":4: Iomap: must be yes or no"},
        {"ReadOnly=\n", ":4: ReadOnly: must be yes or no"},
        {"ServerOptions=a,b\n", ":4: ServerOptions: must be words such as"},
        {"Arguments=%x\n", ":4: Arguments: has an unknown specifier"},
        {"Arguments=100%\n", ":4: Arguments: has an unknown specifier"},
        {"Arguments=%s\n", ":4: Arguments: has %s, but there is no [Slot source]"},
        {"Arguments=%{journal}\n[Slot source]\nRequired=no\n",
         ":4: Arguments: has %{NAME} with a name that is no slot"},
        {"Arguments=%{source\n[Slot source]\nRequired=no\n", ":4: Arguments: has %{NAME} with a name that is no slot"},
        {"Arguments=1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 "
         "7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5\n",
         ":4: Arguments: has too many words"},
        {"[Slot]\nAccept=file\n", ":5: Accept: section [Slot] is no good slot"},
        {"[Slot UP]\nAccept=file\n", ":5: Accept: section [Slot UP] is no good slot"},
        {"[Slot a]\nRequired=no\n[Slot b]\nRequired=no\n[Slot c]\nRequired=no\n[Slot d]\nRequired=no\n[Slot e]\nRequired=no\n"
         "[Slot f]\nRequired=no\n[Slot g]\nRequired=no\n[Slot h]\nRequired=no\n[Slot i]\nRequired=no\n",
         ":21: Required: section [Slot i] is no good slot"},
        {"[Slot a]\nAccept=files\n", ":5: Accept: must be words out of file, device, tree and none"},
        {"[Slot a]\nAccept=\n", ":5: Accept: must be words out of"},
        {"[Slot a]\nRequired=maybe\n", ":5: Required: must be yes or no"},
        {"[Slot a]\nWritable=1\n", ":5: Writable: must be yes or no"},
        {"[Sandbox]\nSystemCalls=+no_such_call\n", ":5: SystemCalls: there is no system call no_such_call"},
        {"[Sandbox]\nSystemCalls=-no_such_call\n", ":5: SystemCalls: there is no system call no_such_call"},
        {"[Sandbox]\nSystemCalls=kill\n", ":5: SystemCalls: must be words such as"},
        {"[Sandbox]\nSystemCalls=+\n", ":5: SystemCalls: must be words such as"},
        {"[Sandbox]\nFiles=etc/passwd\n", ":5: Files: must be absolute paths"},
        {"[Limits]\nMemory=0\n", ":5: Memory: must be a number of bytes"},
        {"[Limits]\nMemory=1X\n", ":5: Memory: must be a number of bytes"},
        {"[Limits]\nMemory=9000000T\n", ":5: Memory: must be a number of bytes"},
        {"[Limits]\nMemory=99999999999999999999\n", ":5: Memory: must be a number of bytes"},
        {"[Limits]\nMemory=-1\n", ":5: Memory: must be a number of bytes"},
        {"[Limits]\nProcesses=0\n", ":5: Processes: must be a number from 1"},
        {"[Limits]\nProcesses=4194305\n", ":5: Processes: must be a number from 1"},
        {"[Limits]\nOpenFiles=7\n", ":5: OpenFiles: must be a number from 8"},
        {"[Limits]\nOpenFiles=unlimited\n", ":5: OpenFiles: must be a number from 8"},
        {"[Limits]\nOomScore=1001\n", ":5: OomScore: must be a number from 0 to 1000"},
        {"[Limits]\nCPU=200\n", ":5: CPU: must be a percentage"},
        {"[Limits]\nCPU=0%\n", ":5: CPU: must be a percentage"},
        {"[Deadlines]\nStart=0\n", ":5: Start: must be a time"},
        {"[Deadlines]\nInit=3601s\n", ":5: Init: must be a time"},
        {"[Deadlines]\nStop=1h\n", ":5: Stop: must be a time"},
        {"[Allow x]\nUsers=no-such-user\n", ":5: Users: there is no 'no-such-user' on this host"},
        {"[Allow x]\nUsers=10x\n", ":5: Users: '10x' is no name, number or *"},
        {"[Allow x]\nUsers=4294967295\n", ":5: Users: '4294967295' is no name"},
        {"[Allow x]\nGroups=no-such-group\n", ":5: Groups: there is no 'no-such-group' on this host"},
        {"[Allow x]\nSources=files\n", ":5: Sources: must be words out of"},
        {"[Allow x]\nDevices=/etc/passwd\n", ":5: Devices: must be words such as"},
        {"[Allow x]\nDevices=/dev/../etc/x\n", ":5: Devices: names a device that is not below /dev"},
        {"[Allow x]\nDevices=/dev/d*k/a\n",
         ":5: Devices: names a device that is not below /dev, or has a '*' that is not its last"},
        {"[Allow x]\nDevices=8\n", ":5: Devices: must be words such as"},
        {"[Allow x]\nDevices=8:1:2\n", ":5: Devices: must be words such as"},
        {"[Allow x]\nDevices=loop:a.img\n", ":5: Devices: must be words such as"},
        {"[Allow x]\nOptions=nosuid\n", ":5: Options: names an option"},
        {"[Allow x]\nOptions=suid\nUsers=root\n", ":5: Options: suid and dev also need Administrator=yes"},
        {"[Allow x]\nAdministrator=si\n", ":5: Administrator: must be yes or no"},
        {"[Allow]\nUsers=root\n", ":5: Users: section [Allow] is no good rule"},
        {"[Allow -x]\nUsers=root\n", ":5: Users: section [Allow -x] is no good rule"},
};

static void test_type_mistakes(void **state) {
        Place *place = place_of(state);

        for (size_t i = 0; i < ELEMENTSOF(type_mistakes); i++) {
                char text[1024], message[256];
                empty(place);
                (void) snprintf(text, sizeof text, GOOD "%s", type_mistakes[i].text);
                put(place->low, "types/bad.conf", text);
                put(place->low, "types/good.conf", GOOD);
                load(place);
                const bool any_line = strncmp(type_mistakes[i].message, ": ", 2) == 0;
                (void) snprintf(message, sizeof message, "types/bad.conf%s", any_line ? ":" : type_mistakes[i].message);
                expect_message(place, place->low, message);
                assert_non_null(strstr(place->messages, type_mistakes[i].message));
                DraftType *bad = draft_of(place, "bad"), *good = draft_of(place, "good");
                if (!bad->disabled || strncmp(bad->disabled, place->low, strlen(place->low)) != 0)
                        fail_msg("%s: disabled: %s", type_mistakes[i].text, bad->disabled);
                assert_null(good->disabled);
                assert_true(good->n_filter > 0);
        }
}

static const MistakeRow programs[] = {
        {"[Type]\nHandOver=fd\n", ":1: Program: is missing"},
        {"[Type]\nProgram=true\n", ":2: Program: must be an absolute path"},
        {"[Type]\nProgram=/bin/../bin/true\n", ":2: Program: must be an absolute path"},
        {"[Type]\nProgram=/nonexistent/x\n", ":2: Program: /nonexistent/x does not exist; install it"},
        {"[Type]\nProgram=/etc\n", ":2: Program: /etc is not an executable file"},
        {"[Type]\nProgram=/etc/passwd\n", ":2: Program: /etc/passwd is not an executable file"},
        {"Program=" PROGRAM "\n", ":1: Program: there is no section []"},
};

static void test_programs(void **state) {
        Place *place = place_of(state);

        for (size_t i = 0; i < ELEMENTSOF(programs); i++) {
                char message[256];
                empty(place);
                put(place->low, "types/x.conf", programs[i].text);
                load(place);
                (void) snprintf(message, sizeof message, "types/x.conf%s", programs[i].message);
                expect_message(place, place->low, message);
                assert_non_null(draft_of(place, "x")->disabled);
        }
}

static void test_program_owner(void **state) {
        static const struct {
                uid_t uid;
                mode_t mode;
                const char *problem; /* NULL: it is fit */
        } rows[] = {
                {0, 0755, NULL},
                {0, 0555, NULL},
                {0, 0644, "is not an executable file"},
                {65534, 0755, "can be changed by somebody other than root"},
                {0, 0775, "can be changed by"},
                {0, 0757, "can be changed by"},
                {0, 04755, "is set-user-ID"},
                {0, 02755, "is set-user-ID or set-group-ID"},
        };
        Place *place = place_of(state);
        char path[128];

        empty(place);
        put(place->low, "program", "#!/bin/sh\n");
        (void) snprintf(path, sizeof path, "%s/program", place->low);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const char *problem = NULL;
                assert_int_equal(chown(path, rows[i].uid, 0), 0);
                assert_int_equal(chmod(path, rows[i].mode), 0);
                assert_int_equal(check_program(path, &problem), rows[i].problem ? -EINVAL : 0);
                assert_true(!rows[i].problem || strncmp(problem, rows[i].problem, strlen(rows[i].problem)) == 0);
        }
        /* The drop-in that names it is what has to be corrected. */
        put(place->low, "types/x.conf", "[Type]\nProgram=" PROGRAM "\n");
        put(place->low, "types/x.conf.d/program.conf", "# other\n[Type]\nProgram=/nonexistent/x\n");
        load(place);
        expect_message(place, place->low, "types/x.conf.d/program.conf:3: Program: /nonexistent/x does not exist");
        empty(place);
        put(place->low, "program", "#!/bin/sh\n");
        /* A script: its interpreter would not be there. */
        char text[256];
        assert_int_equal(chown(path, 0, 0), 0);
        assert_int_equal(chmod(path, 0755), 0);
        (void) snprintf(text, sizeof text, "[Type]\nProgram=%s\n", path);
        put(place->low, "types/x.conf", text);
        load(place);
        expect_message(place, place->low, "types/x.conf:2: Program: the libraries of ");
        assert_non_null(draft_of(place, "x")->disabled);
}

static void test_libraries(void **state) {
        char **list = NULL;
        size_t n = 0;
        bool loader = false, libc = false, unwinder = false;

        assert_int_equal(list_libraries(PROGRAM, &list, &n), 0);
        assert_true(n >= 3);
        assert_string_equal(list[0], PROGRAM);
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(list[i][0], '/');
                assert_int_equal(access(list[i], R_OK), 0);
                loader |= strstr(list[i], "/ld-") != NULL;
                libc |= strstr(list[i], "/libc.so") != NULL;
                unwinder |= strstr(list[i], "/libgcc_s.so.1") != NULL; /* for pthread_cancel; here, as the compiler needs it */
                free(list[i]);
        }
        free(list);
        assert_true(loader && libc && unwinder);
        assert_int_equal(list_libraries("/etc/passwd", &list, &n), -ENOEXEC);
        for (size_t i = 0; i < n; i++)
                free(list[i]);
        free(list);
}

static const MistakeRow main_mistakes[] = {
        {"[Supervisor]\nUids=5-6\n", ":2: Uids: must be a range of uids"},
        {"[Supervisor]\nUids=2000-1000\n", ":2: Uids: must be a range of uids"},
        {"[Supervisor]\nUids=1000-4294967294\n", ":2: Uids: must be a range of uids"},
        {"[Supervisor]\nUids=1000\n", ":2: Uids: must be a range of uids"},
        {"[Supervisor]\nUids=1000-2000x\n", ":2: Uids: must be a range of uids"},
        {"[Supervisor]\nUids=-5--1\n", ":2: Uids: must be a range of uids"},
        {"[Supervisor]\nUids=60000-70000\n", ":2: Uids: must be a range of uids"},
        {"[Supervisor]\nSpares=65\n", ":2: Spares: must be a number from 0 to 64"},
        {"[Supervisor]\nManagerUser=root\n", ":2: ManagerUser: must be a user"},
        {"[Supervisor]\nManagerUser=no-such-user\n", ":2: ManagerUser: must be a user"},
        {"[Supervisor]\nMaxMounts=0\n", ":2: MaxMounts: must be a number above 0"},
        {"[Supervisor]\nMaxMounts=many\n", ":2: MaxMounts: must be a number above 0"},
        {"[Limits]\nMaxMounts=-1\n", ":2: MaxMounts: must be a number, or unlimited"},
        {"[Limits]\nMaxPending=4294967295\n", ":2: MaxPending: must be a number"},
        {"[Limits]\nMaxFds=1K\n", ":2: MaxFds: must be a number"},
        {"[Limits]\nMaxProcesses=\n", ":2: MaxProcesses: must be a number"},
        {"[Limits]\nMaxFiles=3\n", ":2: MaxFiles: there is no such key in [Limits]"},
        {"[Type]\nProgram=/x\n", ":2: Program: there is no section [Type]"},
        {"[User no-such-user]\nMaxFds=1\n", ":2: MaxFds: section [User no-such-user] is no user of this host"},
        {"[User *]\nMaxFds=1\n", ":2: MaxFds: section [User *] is no user of this host"},
        {"[User]\nMaxFds=1\n", ":2: MaxFds: section [User] is no user of this host"},
        {"[User root]\nMaxFds=x\n", ":2: MaxFds: must be a number"},
};

/* The key keeps its default, the rest is taken, and the table is good. */
static void test_main_mistakes(void **state) {
        Place *place = place_of(state);

        for (size_t i = 0; i < ELEMENTSOF(main_mistakes); i++) {
                char message[256], text[256];
                void *table _cleanup_free_ = NULL;
                size_t size;
                empty(place);
                (void) snprintf(text, sizeof text, "%s\n[User 77]\nMaxMounts=77\n", main_mistakes[i].text);
                put(place->low, "fused.conf", text);
                load(place);
                (void) snprintf(message, sizeof message, "fused.conf%s", main_mistakes[i].message);
                expect_message(place, place->low, message);
                assert_int_equal(place->n_mistakes, 1);
                assert_int_equal(place->main.uid_first, 1879048192);
                assert_int_equal(place->main.uid_count, 65536);
                assert_int_equal(place->main.max_mounts, 4096);
                assert_int_equal(place->main.limits.max_mounts, 256);
                assert_int_equal(place->main.limits.max_fds, 4096);
                assert_int_equal(make_table(&place->main, NULL, 0, &table, &size), 0);
                assert_int_equal(policy_table_validate(table, size), 0);
                assert_int_equal(policy_limits(table, 77, NULL)->max_mounts, 77);
                assert_int_equal(policy_limits(table, 0, NULL)->max_fds, 4096);
        }
}

static void test_names(void **state) {
        Place *place = place_of(state);

        empty(place);
        put(place->low, "types/Bad.conf", GOOD);
        put(place->low, "types/a23456789012345678901234567890123.conf", GOOD);
        put(place->low, "types/.hidden.conf", GOOD);
        put(place->low, "types/readme.txt", "hello");
        put(place->low, "types/.conf", GOOD);
        put(place->low, "types/a2345678901234567890123456789_1.conf", GOOD); /* 31 characters */
        load(place);
        assert_int_equal(place->n, 1);
        assert_null(place->drafts[0].disabled);
        expect_message(place, place->low, "types/Bad.conf: a type's name has at most 31 characters");
        expect_message(place, place->low, "types/a23456789012345678901234567890123.conf: a type's name has");
        assert_int_equal(place->n_mistakes, 2);
}

/* ---- layers ------------------------------------------------------------------------------------------------------ */

static void test_layers(void **state) {
        Place *place = place_of(state);

        empty(place);
        put(place->low, "types/a.conf", GOOD "Description=low\nReadOnly=yes\n");
        put(place->low, "types/b.conf", GOOD "Description=low\n");
        put(place->high, "types/a.conf", GOOD "Description=high\n");
        put(place->high, "types/c.conf", GOOD "Description=high\n");
        put(place->low, "fused.conf", "[Limits]\nMaxFds=1\nMaxPending=1\n");
        put(place->high, "fused.conf", "[Limits]\nMaxFds=2\n");
        load(place);
        assert_string_equal(place->messages, "");
        assert_int_equal(place->n, 3);
        assert_string_equal(draft_of(place, "a")->description, "high");
        assert_false(draft_of(place, "a")->type.read_only); /* the whole file is replaced */
        assert_string_equal(draft_of(place, "b")->description, "low");
        assert_string_equal(draft_of(place, "c")->description, "high");
        assert_int_equal(place->main.limits.max_fds, 2);
        assert_int_equal(place->main.limits.max_pending, 16);
}

static void test_drop_ins(void **state) {
        Place *place = place_of(state);

        empty(place);
        put(place->low, "types/a.conf", GOOD "Description=base\nArguments=one two\n[Limits]\nMemory=1M\n");
        put(place->high, "types/a.conf.d/10-x.conf", "[Type]\nDescription=ten\n[Limits]\nMemory=2M\n");
        /* a lower layer, but a later name */
        put(place->low, "types/a.conf.d/20-x.conf", "[Type]\nDescription=twenty\n");
        put(place->low, "types/a.conf.d/30-x.conf", "[Type]\nDescription=replaced\n");
        put(place->high, "types/a.conf.d/30-x.conf", "[Type]\nArguments=three\n[Allow x]\nUsers=root\n");
        put(place->low, "types/a.conf.d/40-x.conf", "[Type]\nDescription=masked\n");
        put(place->high, "types/a.conf.d/40-x.conf", "");
        put(place->low, "types/a.conf.d/50-x.txt", "[Type]\nDescription=other\n");
        put(place->high, "fused.conf.d/x.conf", "[Limits]\nMaxFds=9\n"); /* without a fused.conf */
        load(place);
        assert_string_equal(place->messages, "");
        assert_int_equal(place->n, 1);
        const DraftType *d = draft_of(place, "a");
        assert_null(d->disabled);
        assert_string_equal(d->description, "twenty");
        assert_int_equal(d->n_arguments, 1); /* not added to */
        assert_string_equal(d->arguments[0], "three");
        assert_int_equal(d->type.max_memory, 2 << 20);
        assert_int_equal(d->n_rules, 1);
        assert_true(strstr(d->rules[0].file, "/etc/types/a.conf.d/30-x.conf") != NULL);
        assert_int_equal(d->rules[0].rule.place.line, 4);
        assert_int_equal(place->main.limits.max_fds, 9);

        /* A mistake in a drop-in names the drop-in; an empty value resets a list. */
        put(place->high, "types/a.conf.d/30-x.conf", "[Type]\nArguments=\n[Limits]\nMemory=x\n");
        load(place);
        expect_message(place, place->high, "types/a.conf.d/30-x.conf:4: Memory: must be a number of bytes");
        d = draft_of(place, "a");
        assert_non_null(d->disabled);
        assert_int_equal(d->n_arguments, 0);
}

static void test_masks(void **state) {
        Place *place = place_of(state);
        char path[128];

        empty(place);
        put(place->low, "types/a.conf", GOOD);
        put(place->low, "types/b.conf", GOOD);
        put(place->low, "types/c.conf", GOOD);
        put(place->low, "types/a.conf.d/x.conf", "[Type]\nDescription=x\n");
        put(place->low, "types/b.conf.d/x.conf", "[Type]\nDescription=x\n");
        put(place->high, "types/a.conf", "");
        (void) snprintf(path, sizeof path, "%s/types/b.conf", place->high);
        assert_int_equal(symlink("/dev/null", path), 0);
        put(place->low, "fused.conf", "[Limits]\nMaxFds=1\n");
        put(place->high, "fused.conf", "");
        load(place);
        assert_string_equal(place->messages, "");
        assert_null(draft_of(place, "a"));
        assert_null(draft_of(place, "b"));
        assert_non_null(draft_of(place, "c"));
        assert_int_equal(place->main.limits.max_fds, 4096);
}

/* ---- who may write ----------------------------------------------------------------------------------------------- */

static void test_owner(void **state) {
        static const struct {
                uid_t uid;
                mode_t mode;
                bool good;
        } rows[] = {{0, 0644, true},  {0, 0600, true},  {65534, 0644, false},
                    {0, 0664, false}, {0, 0646, false}, {65534, 0600, false}};
        Place *place = place_of(state);
        char type_path[128], main_path[128];

        empty(place);
        put(place->low, "types/x.conf", GOOD);
        put(place->low, "fused.conf", "[Limits]\nMaxFds=1\n");
        (void) snprintf(type_path, sizeof type_path, "%s/types/x.conf", place->low);
        (void) snprintf(main_path, sizeof main_path, "%s/fused.conf", place->low);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                assert_true(chown(type_path, rows[i].uid, 0) == 0 && chmod(type_path, rows[i].mode) == 0);
                assert_true(chown(main_path, rows[i].uid, 0) == 0 && chmod(main_path, rows[i].mode) == 0);
                load(place);
                assert_int_equal(!draft_of(place, "x")->disabled, rows[i].good);
                assert_int_equal(place->main.limits.max_fds, rows[i].good ? 1 : 4096);
                if (rows[i].good) {
                        assert_string_equal(place->messages, "");
                        continue;
                }
                expect_message(
                        place, place->low,
                        "types/x.conf: can be changed by somebody other than root; chown it to root, chmod go-w");
                expect_message(place, place->low, "fused.conf: can be changed by somebody other than root");
                assert_null(draft_of(place, "x")->program); /* not a line of it was taken */
        }
        /* So for a drop-in: the type is not taken without it, as nobody knows what it was to restrict. */
        assert_true(chown(type_path, 0, 0) == 0 && chmod(type_path, 0644) == 0);
        put(place->low, "types/x.conf.d/y.conf", "[Type]\nReadOnly=yes\n");
        (void) snprintf(type_path, sizeof type_path, "%s/types/x.conf.d/y.conf", place->low);
        assert_int_equal(chown(type_path, 65534, 0), 0);
        load(place);
        assert_non_null(draft_of(place, "x")->disabled);
}

static void test_not_a_file(void **state) {
        Place *place = place_of(state);
        char path[128];

        empty(place);
        put(place->low, "types/x.conf/y", "");
        put(place->high, "types", "not a directory");
        load(place);
        expect_message(place, place->low, "types/x.conf: is not a regular file");
        expect_message(place, place->high, "types: cannot be read: Not a directory");
        assert_non_null(draft_of(place, "x")->disabled);
        (void) snprintf(path, sizeof path, "%s/types/z.conf", place->low);
        assert_int_equal(symlink("nowhere", path), 0);
        load(place);
        DraftType *dangling = draft_of(place, "z");
        assert_true(!dangling || dangling->disabled);
}

/* ---- one table --------------------------------------------------------------------------------------------------- */

static void test_broken_beside_good(void **state) {
        Place *place = place_of(state);
        void *table _cleanup_free_ = NULL;
        size_t size;

        empty(place);
        put(place->low, "types/bad.conf",
            GOOD "Description=broken\nProgam=x\n[Slot source]\nAccept=file\n[Allow all]\nUsers=*\nSources=file\n");
        put(place->low, "types/good.conf", GOOD "[Slot source]\nAccept=file\n[Allow all]\nUsers=*\nSources=file\n");
        load(place);
        assert_int_equal(make_table(&place->main, place->drafts, place->n, &table, &size), 0);
        assert_int_equal(policy_table_validate(table, size), 0);
        const PolicyTable *t = table;
        const PolicyType *bad = policy_type_by_name(t, "bad", NULL), *good = policy_type_by_name(t, "good", NULL);
        const char *reason = policy_string(t, bad->disabled);
        assert_true(strstr(reason, "/types/bad.conf:5: Progam: there is no such key in [Type]") != NULL);
        assert_string_equal(policy_string(t, bad->description), "broken");
        assert_int_equal(bad->rules.count + bad->slots.count + bad->files.count + bad->filter.count, 0);
        assert_int_equal(good->disabled, 0);
        assert_int_equal(good->rules.count, 1);
        assert_int_equal(good->slots.count, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_iomap),
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_same_key_next_section),
                cmocka_unit_test(test_type_mistakes),
                cmocka_unit_test(test_programs),
                cmocka_unit_test(test_program_owner),
                cmocka_unit_test(test_libraries),
                cmocka_unit_test(test_main_mistakes),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_layers),
                cmocka_unit_test(test_drop_ins),
                cmocka_unit_test(test_masks),
                cmocka_unit_test(test_owner),
                cmocka_unit_test(test_not_a_file),
                cmocka_unit_test(test_broken_beside_good),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
