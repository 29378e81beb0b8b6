/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl metrics: Prometheus' text format, version 0.0.4. */

#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/fusectl.h"

typedef struct Family {
        const char *name; /* after "fused_" */
        const char *type;
        const char *help;
} Family;

/* A value is to be one line and one label. */
static void print_label(const char *name, const char *value, bool first) {
        printf("%s%s=\"", first ? "" : ",", name);
        for (const char *p = value; *p; p++)
                if (*p == '\\' || *p == '"')
                        printf("\\%c", *p);
                else if (*p == '\n')
                        fputs("\\n", stdout);
                else
                        putchar((unsigned char) *p < 0x20 || *p == 0x7f ? '?' : *p);
        putchar('"');
}

static void begin(const Family *family) {
        printf("# HELP fused_%s %s\n# TYPE fused_%s %s\n", family->name, family->help, family->name, family->type);
}

/* ---- mounts --------------------------------------------------------------------------------------------------------- */

static const struct {
        Family family;
        const char *key;
        double scale;    /* of the key's number */
        bool when_known; /* 0 is not known here */
} mount_rows[] = {
        {{"mount_requests_waiting", "gauge", "Requests that the kernel has no answer for yet."}, "requests-waiting", 1, false},
        {{"mount_memory_bytes", "gauge", "Memory of the server's cgroup."}, "memory", 1, true},
        {{"mount_cpu_seconds_total", "counter", "CPU time that the server's cgroup has used."}, "cpu-usec", 1e-6, true},
        {{"mount_processes", "gauge", "Processes in the server's cgroup."}, "processes", 1, true},
        {{"mount_fds", "gauge", "Descriptors that the supervisor holds for the mount."}, "fds", 1, false},
        {{"mount_uptime_seconds", "gauge", "Time since the mount became live."}, "uptime-usec", 1e-6, false},
        {{"mount_backing_files", "gauge", "Files that the kernel reads and writes for the server."}, "backing-files", 1, false},
};

/* Of servers that map, as they count themselves: rows of one family stand together. */
static const struct {
        Family family;
        const char *key;   /* in "mapping" */
        const char *label; /* NULL: none */
        const char *value;
} mapping_rows[] = {
        {{"mount_lookups_total", "counter", "Mappings that were asked for, by who knew them."}, "answered-by-cache", "by", "cache"},
        {{"mount_lookups_total", NULL, NULL}, "answered-by-program", "by", "program"},
        {{"mount_lookups_total", NULL, NULL}, "answered-by-server", "by", "server"},
        {{"mount_bad_mappings_total", "counter", "Mappings that broke the rules and were refused."}, "bad-mappings", NULL, NULL},
        {{"mount_mapping_cache_bytes", "gauge", "Memory of the mapping cache."}, "cache-bytes", NULL, NULL},
        {{"mount_mapping_cache_limit_bytes", "gauge", "What the mapping cache may use."}, "cache-limit", NULL, NULL},
        {{"mount_mapping_cache_mappings", "gauge", "Mappings in the cache."}, "cache-mappings", NULL, NULL},
        {{"mount_mapping_cache_evicted_total", "counter", "Mappings that had to leave the cache."}, "cache-evicted", NULL, NULL},
        {{"mount_mapping_cache_shrunk_total", "counter", "Times that it gave memory back because memory was short."}, "cache-shrunk", NULL, NULL},
        {{"mount_device_bytes_total", "counter", "Data that the server has moved from and to devices."}, "bytes-read", "direction", "read"},
        {{"mount_device_bytes_total", NULL, NULL}, "bytes-written", "direction", "written"},
};

static void print_mount_labels(json_object *mount) {
        static const char *const keys[] = {"id", "type", "uid", "source", "mountpoint"};

        putchar('{');
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                print_label(keys[i], text_of(mount, keys[i]), i == 0);
}

static void print_states(json_object *mounts) {
        static const Family family = {"mount_state", "gauge", "1 for the state that the mount is in."};

        begin(&family);
        for (size_t i = 0; i < json_object_array_length(mounts); i++) {
                json_object *mount = json_object_array_get_idx(mounts, i);
                fputs("fused_mount_state", stdout);
                print_mount_labels(mount);
                print_label("state", text_of(mount, "state"), false);
                puts("} 1");
        }
}

static void print_starts(json_object *mounts) {
        static const Family family = {"mount_start_seconds", "gauge", "Time from the request to the live mount."};

        begin(&family);
        for (size_t i = 0; i < json_object_array_length(mounts); i++) {
                json_object *mount = json_object_array_get_idx(mounts, i);
                uint64_t created = number_of(mount, "created-usec"), live = number_of(mount, "live-usec");
                if (live <= created)
                        continue;
                fputs("fused_mount_start_seconds", stdout);
                print_mount_labels(mount);
                printf("} %.6f\n", (double) (live - created) * 1e-6);
        }
}

static void print_mappings(json_object *mounts) {
        for (size_t k = 0; k < ELEMENTSOF(mapping_rows); k++) {
                if (mapping_rows[k].family.type)
                        begin(&mapping_rows[k].family);
                for (size_t i = 0; i < json_object_array_length(mounts); i++) {
                        json_object *mount = json_object_array_get_idx(mounts, i), *mapping;
                        if (!*text_of(mount, "engine") || !json_object_object_get_ex(mount, "mapping", &mapping))
                                continue;
                        printf("fused_%s", mapping_rows[k].family.name);
                        print_mount_labels(mount);
                        if (mapping_rows[k].label)
                                print_label(mapping_rows[k].label, mapping_rows[k].value, false);
                        printf("} %.15g\n", (double) number_of(mapping, mapping_rows[k].key));
                }
        }
}

static void print_mounts(json_object *mounts) {
        print_states(mounts);
        print_starts(mounts);
        for (size_t k = 0; k < ELEMENTSOF(mount_rows); k++) {
                begin(&mount_rows[k].family);
                for (size_t i = 0; i < json_object_array_length(mounts); i++) {
                        json_object *mount = json_object_array_get_idx(mounts, i);
                        uint64_t value = number_of(mount, mount_rows[k].key);
                        if (value == 0 && mount_rows[k].when_known)
                                continue;
                        printf("fused_%s", mount_rows[k].family.name);
                        print_mount_labels(mount);
                        printf("} %.15g\n", (double) value * mount_rows[k].scale);
                }
        }
        print_mappings(mounts);
}

/* ---- types ---------------------------------------------------------------------------------------------------------- */

static size_t count_live(json_object *mounts, const char *type) {
        size_t n = 0;

        for (size_t i = 0; i < json_object_array_length(mounts); i++) {
                json_object *mount = json_object_array_get_idx(mounts, i);
                n += strcmp(text_of(mount, "type"), type) == 0 && strcmp(text_of(mount, "state"), "live") == 0;
        }
        return n;
}

static void print_ended(json_object *types) {
        static const Family family = {"type_ended_total", "counter", "Mounts that have ended, by reason."};

        begin(&family);
        for (size_t i = 0; i < json_object_array_length(types); i++) {
                json_object *type = json_object_array_get_idx(types, i), *reasons;
                if (!json_object_object_get_ex(type, "ended", &reasons))
                        continue;
                json_object_object_foreach(reasons, reason, count) {
                        fputs("fused_type_ended_total{", stdout);
                        print_label("type", text_of(type, "name"), true);
                        print_label("reason", reason, false);
                        printf("} %llu\n", (unsigned long long) json_object_get_uint64(count));
                }
        }
}

static void print_last_exits(json_object *types) {
        static const Family families[] = {
                {"type_last_exit_status", "gauge", "How the server of the last mount that ended did: exit status, or signal if killed."},
                {"type_last_exit_timestamp_seconds", "gauge", "When that was."},
        };

        for (size_t k = 0; k < ELEMENTSOF(families); k++) {
                begin(&families[k]);
                for (size_t i = 0; i < json_object_array_length(types); i++) {
                        json_object *type = json_object_array_get_idx(types, i);
                        if (!*text_of(type, "last-exit"))
                                continue;
                        printf("fused_%s{", families[k].name);
                        print_label("type", text_of(type, "name"), true);
                        if (k == 0)
                                print_label("how", text_of(type, "last-exit"), false);
                        printf("} %.15g\n", k == 0 ? (double) number_of(type, "last-exit-status") :
                                                     (double) number_of(type, "last-exit-usec") * 1e-6);
                }
        }
}

static void print_types(json_object *types, json_object *mounts) {
        static const struct {
                Family family;
                const char *key; /* NULL: live mounts, counted */
                double scale;
        } rows[] = {
                {{"type_mounts", "gauge", "Mounts that are live."}, NULL, 1},
                {{"type_mounted_total", "counter", "Mounts that became live."}, "mounted", 1},
                {{"type_mounted_seconds_total", "counter", "Time from request to live, all mounts together."}, "mounted-usec", 1e-6},
                {{"type_taken_over_total", "counter", "Mounts that the manager took over from one before it."}, "taken-over", 1},
        };

        for (size_t k = 0; k < ELEMENTSOF(rows); k++) {
                begin(&rows[k].family);
                for (size_t i = 0; i < json_object_array_length(types); i++) {
                        json_object *type = json_object_array_get_idx(types, i);
                        printf("fused_%s{", rows[k].family.name);
                        print_label("type", text_of(type, "name"), true);
                        printf("} %.15g\n", rows[k].key ? (double) number_of(type, rows[k].key) * rows[k].scale :
                                                          (double) count_live(mounts, text_of(type, "name")));
                }
        }
        print_ended(types);
        print_last_exits(types);
}

/* ---- users ---------------------------------------------------------------------------------------------------------- */

static void print_users(json_object *users) {
        static const Family families[] = {
                {"user_usage", "gauge", "What the user holds, by resource."},
                {"user_limit", "gauge", "What the user may hold; unlimited ones are left out."},
        };
        static const char *const keys[] = {"usage", "limits"};

        for (size_t k = 0; k < ELEMENTSOF(keys); k++) {
                begin(&families[k]);
                for (size_t i = 0; i < json_object_array_length(users); i++) {
                        json_object *user = json_object_array_get_idx(users, i), *values;
                        if (!json_object_object_get_ex(user, keys[k], &values))
                                continue;
                        json_object_object_foreach(values, resource, value) {
                                if (json_object_get_uint64(value) == UINT64_MAX)
                                        continue;
                                printf("fused_%s{", families[k].name);
                                print_label("uid", text_of(user, "uid"), true);
                                print_label("resource", resource, false);
                                printf("} %llu\n", (unsigned long long) json_object_get_uint64(value));
                        }
                }
        }
}

/* ---- the command ---------------------------------------------------------------------------------------------------- */

static int print_all(Context *context) {
        _cleanup_json_ json_object *mounts = NULL, *statistics = NULL;
        FusedError error = {0};
        json_object *part;

        if (fused_query(context->client, &mounts, &error) < 0 || fused_statistics(context->client, &statistics, &error) < 0)
                return report(&error);
        print_mounts(mounts);
        if (json_object_object_get_ex(statistics, "types", &part))
                print_types(part, mounts);
        if (json_object_object_get_ex(statistics, "users", &part))
                print_users(part);
        return fflush(stdout) != 0 ? failure("cannot write: %s", strerror(errno)) : 0;
}

/* Written beside the file and renamed, so that a reader sees all or nothing; node_exporter wants it readable. */
static int print_to_file(Context *context, const char *path) {
        char *temporary _cleanup_free_ = NULL;
        FILE *real = stdout, *file;
        int status, fd;

        if (asprintf(&temporary, "%s.%d.tmp", path, (int) getpid()) < 0)
                return failure("out of memory");
        fd = RET_NERRNO(open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
        file = fd < 0 ? NULL : fdopen(fd, "w");
        if (!file)
                return failure("cannot make %s: %s", temporary, strerror(fd < 0 ? -fd : errno));
        stdout = file;
        status = print_all(context);
        stdout = real;
        if (fclose(file) != 0 && status == 0)
                status = failure("cannot write %s: %s", temporary, strerror(errno));
        if (status == 0 && rename(temporary, path) < 0)
                status = failure("cannot rename %s to %s: %s", temporary, path, strerror(errno));
        if (status != 0)
                (void) unlink(temporary);
        return status;
}

int command_metrics(Context *context, int argc, char **argv) {
        static const struct option options[] = {{"output", required_argument, NULL, 'o'}, {0}};
        const char *output = NULL;
        int c, status;

        while ((c = getopt_long(argc, argv, "o:", options, NULL)) >= 0)
                switch (c) {
                case 'o':
                        output = optarg;
                        break;
                default:
                        return usage_error("metrics [--output FILE]");
                }
        if (optind != argc)
                return usage_error("metrics [--output FILE]");
        status = connect_to_fused(context);
        if (status != 0)
                return status;
        return output ? print_to_file(context, output) : print_all(context);
}
