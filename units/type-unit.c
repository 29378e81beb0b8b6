/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A type's definition as unit files. See type-unit.h. */

#include "units/type-unit.h"

#include <string.h>

#define AGENT_OPEN_FILES 16 /* what the agent holds beside the server's descriptors, as in launcher/spawn.c */

/* What holds for every server: namespaces, identity, kernel interfaces, limits. One line each, with systemd's meaning. */
static const char fixed_options[] =
        "# who it is: a uid and gid that exist as long as it runs, in a user namespace that maps nothing else\n"
        "DynamicUser=yes\n"
        "PrivateUsers=yes\n"
        "SupplementaryGroups=\n"
        "CapabilityBoundingSet=\n"
        "AmbientCapabilities=\n"
        "NoNewPrivileges=yes\n"
        "SecureBits=noroot-locked\n"
        "KeyringMode=private\n"
        "UMask=0077\n"
        "# what it can reach: nothing outside\n"
        "PrivateNetwork=yes\n"
        "PrivateIPC=yes\n"
        "PrivateDevices=yes\n"
        "DevicePolicy=closed\n"
        "PrivateMounts=yes\n"
        "PrivateTmp=yes\n"
        "IPAddressDeny=any\n"
        "RestrictAddressFamilies=none\n"
        "ProtectHostname=yes\n"
        "ProtectProc=invisible\n"
        "ProcSubset=pid\n"
        "ProtectClock=yes\n"
        "ProtectKernelModules=yes\n"
        "RestrictNamespaces=yes\n"
        "RestrictRealtime=yes\n"
        "RestrictSUIDSGID=yes\n"
        "LockPersonality=yes\n"
        "LimitCORE=0\n"
        "LimitMEMLOCK=64K\n"
        "LimitMSGQUEUE=0\n"
        "LimitSIGPENDING=256\n"
        "LimitNICE=0\n"
        "LimitRTPRIO=0\n";

/* TemporaryFileSystem=/ would be the shorter way, but DynamicUser= brings a read-only / of its own that takes its place, and
 * the host's mounts, served trees among them, would be in each server's namespace. */
static const char fixed_files[] =
        "# what it sees: its program and its libraries, an empty /mnt, and a few device nodes\n"
        "MountAPIVFS=no\n"
        "TemporaryFileSystem=/mnt:ro,nosuid,nodev,noexec,mode=0755\n";

/* Paths that need no quoting anywhere in a unit file. */
static bool path_is_plain(const char *path) {
        return path[0] == '/' && strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+@=,~-") == strlen(path);
}

const char *unit_obstacle(const DraftType *type) {
        if (type->type.hand_over == POLICY_HAND_OVER_CALLER)
                return "";
        if (type->disabled)
                return "its definition has a mistake";
        if (!type->program)
                return "it has no program";
        for (size_t i = 0; i < type->n_libraries; i++)
                if (!path_is_plain(type->libraries[i]))
                        return "a path of its program or libraries has characters that unit files cannot hold";
        for (size_t i = 0; i < type->n_extra_files; i++)
                if (!path_is_plain(type->extra_files[i]))
                        return "a path in Files= has characters that unit files cannot hold";
        return NULL;
}

void unit_write_socket(FILE *stream, const DraftType *type, const UnitPaths *paths) {
        const char *name = type->type.name;

        (void) fprintf(stream,
                       "# Made by fused-generator from the definition of type %s. Do not edit; see fused-units(7).\n"
                       "[Unit]\nDescription=Servers of FUSE type %s\nDocumentation=man:fused-units(7)\n"
                       "DefaultDependencies=no\nBefore=sockets.target\nConflicts=shutdown.target\nBefore=shutdown.target\n"
                       "\n[Socket]\nListenSequentialPacket=%s/%s\nAccept=yes\n"
                       "# fused, which is root, and nobody else; other mount helpers of root's may use it as well\n"
                       "SocketUser=root\nSocketMode=0600\nDirectoryMode=0755\nRemoveOnStop=yes\n"
                       "# fused counts mounts; here nothing is to be in their way\n"
                       "Backlog=1024\nMaxConnections=65536\nTriggerLimitIntervalSec=0\n"
                       "# the servers' root: what they see is bound into it in a namespace of their own\n"
                       "ExecStartPre=/bin/mkdir -p -m 0755 %s/%s\n",
                       name, name, paths->directory, name, paths->roots, name);
}

static void write_word(FILE *stream, const char *word) {
        (void) fputs(" \"", stream);
        for (const char *p = word; *p; p++) {
                if (strchr("%$", *p))
                        (void) fputc(*p, stream);
                if (strchr("\"\\", *p))
                        (void) fputc('\\', stream);
                (void) fputc(*p, stream);
        }
        (void) fputc('"', stream);
}

/* The command line for a mount that fused has no part in: the specifiers stand for the least that they could mean. */
static void write_argument(FILE *stream, const char *text) {
        char word[4096];
        size_t n = 0;

        while (*text && n < sizeof word - 64) {
                if (*text != '%') {
                        word[n++] = *text++;
                        continue;
                }
                const char *end;
                switch (text[1]) {
                case 's':
                        n += (size_t) sprintf(word + n, "/slots/source");
                        break;
                case 'm':
                        n += (size_t) sprintf(word + n, "/mnt");
                        break;
                case 'd':
                        n += (size_t) sprintf(word + n, "/dev/fd/3");
                        break;
                case 'o':
                        n += (size_t) sprintf(word + n, "rw");
                        break;
                case '{':
                        end = strchr(text, '}');
                        if (!end)
                                return;
                        n += (size_t) sprintf(word + n, "/slots/%.*s", (int) MIN_OF(end - text - 2, 40), text + 2);
                        text = end - 1;
                        break;
                default:
                        word[n++] = '%';
                        break;
                }
                text += 2;
        }
        word[n] = 0;
        write_word(stream, word);
}

static void write_call(void *userdata, const char *name) {
        (void) fprintf(userdata, "SystemCallFilter=%s\n", name);
}

/* The wall around agent and server together; inside it the server gets its type's exact filter. */
static void write_filter(FILE *stream, const DraftType *type) {
        bool with_agent = type->type.hand_over != POLICY_HAND_OVER_SERVICE;

        (void) fputs("# system calls: unknown ones do not exist, so that libraries take an older way\n"
                     "SystemCallArchitectures=native\nSystemCallErrorNumber=ENOSYS\n", stream);
        server_filter_names(with_agent, type->calls, type->n_calls, write_call, stream);
        (void) fputs("# what fused-enter needs before the exact filter is in force\n"
                     "SystemCallFilter=execve seccomp\n", stream);
        if (with_agent)
                (void) fputs("# what the agent needs beside its server\n"
                             "SystemCallFilter=process_vm_readv process_vm_writev\n", stream);
}

static void write_limits(FILE *stream, const PolicyType *type, bool with_agent) {
        uint32_t extra = with_agent;

        (void) fputs("# limits and deadlines of the definition\n", stream);
        if (type->max_memory > 0)
                (void) fprintf(stream, "MemoryMax=%llu\n", (unsigned long long) type->max_memory);
        if (type->max_cpu_percent > 0)
                (void) fprintf(stream, "CPUQuota=%llu%%\n", (unsigned long long) type->max_cpu_percent);
        if (type->max_processes > 0)
                (void) fprintf(stream, "TasksMax=%u\nLimitNPROC=%u\n", type->max_processes + extra, type->max_processes + extra);
        else
                (void) fputs("TasksMax=infinity\n", stream);
        (void) fprintf(stream, "LimitNOFILE=%u\nOOMScoreAdjust=%d\nOOMPolicy=kill\n", type->max_open_files + extra * AGENT_OPEN_FILES,
                       (int) type->oom_score);
        (void) fprintf(stream, "TimeoutStartSec=%lluus\nTimeoutStopSec=%lluus\n", (unsigned long long) type->start_usec,
                       (unsigned long long) type->stop_usec);
}

static void write_files(FILE *stream, const DraftType *type, const UnitPaths *paths) {
        (void) fputs(fixed_files, stream);
        (void) fprintf(stream, "RootDirectory=%s/%s\n", paths->roots, type->type.name);
        (void) fprintf(stream, "BindReadOnlyPaths=%s\n", paths->enter);
        for (size_t i = 0; i < type->n_libraries; i++)
                (void) fprintf(stream, "BindReadOnlyPaths=%s\n", type->libraries[i]);
        for (size_t i = 0; i < type->n_extra_files; i++)
                (void) fprintf(stream, "BindReadOnlyPaths=%s\n", type->extra_files[i]);
        for (size_t i = 0; i < type->n_slots; i++)
                (void) fprintf(stream, "BindReadOnlyPaths=%s:/slots/%s\n", paths->empty, type->slots[i].name);
}

void unit_write_service(FILE *stream, const DraftType *type, const UnitPaths *paths) {
        bool with_agent = type->type.hand_over != POLICY_HAND_OVER_SERVICE;
        const char *name = type->type.name;

        (void) fprintf(stream,
                       "# Made by fused-generator from the definition of type %s. Do not edit; see fused-units(7).\n"
                       "[Unit]\nDescription=FUSE server of type %s\nDocumentation=man:fused-units(7)\n"
                       "# it serves a mount: it goes when that has been unmounted, also when the machine goes down\n"
                       "DefaultDependencies=no\nIgnoreOnIsolate=yes\nCollectMode=inactive-or-failed\nStartLimitIntervalSec=0\n"
                       "\n[Service]\nType=exec\nExecStart=%s",
                       name, name, paths->enter);
        write_word(stream, type->program);
        for (size_t i = 0; i < type->n_arguments; i++)
                write_argument(stream, type->arguments[i]);
        (void) fprintf(stream,
                       "\nSlice=%s\nSyslogIdentifier=fuse-%s\n"
                       "StandardInput=null\nStandardOutput=journal\nStandardError=journal\n"
                       "Environment=LANG=C.UTF-8 PATH=/usr/bin:/bin\n",
                       type->slice ?: "fused-servers.slice", name);
        for (size_t i = 0; i < type->n_credentials; i++)
                (void) fprintf(stream, "LoadCredential=%s\n", type->credentials[i]);
        (void) fputs(fixed_options, stream);
        write_files(stream, type, paths);
        write_limits(stream, &type->type, with_agent);
        write_filter(stream, type);
}
