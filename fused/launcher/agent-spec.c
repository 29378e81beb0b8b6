/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the agent is told, as a sealed memfd. See agent/spec.h for the layout. */

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/spec.h"
#include "base/fd.h"
#include "launcher/launcher.h"

_Static_assert(SPAWN_FUSE_FD == AGENT_FUSE_FD, "%d is the number the agent gives the device");
_Static_assert(SPAWN_ARGUMENTS_MAX + 1 <= AGENT_ARGUMENTS_MAX, "every command line fits");

static int fill_slots(const SpawnRequest *request, int first_slot_fd, AgentSpec *spec) {
        if (request->n_slots > AGENT_SLOTS_MAX)
                return -E2BIG;
        for (size_t i = 0; i < request->n_slots; i++) {
                const SpawnSlot *slot = &request->slots[i];
                AgentSlot *to = &spec->slots[spec->n_slots++];
                if (strlen(slot->path) >= sizeof to->path)
                        return -ENAMETOOLONG;
                memcpy(to->path, slot->path, strlen(slot->path) + 1);
                to->fd = slot->fd >= 0 ? first_slot_fd++ : -1;
                to->writable = slot->writable;
        }
        return 0;
}

int spawn_agent_spec(const SpawnRequest *request, const SpawnArguments *arguments, int first_slot_fd, int *ret_fd) {
        const size_t filter_size = (size_t) request->type->filter.count * sizeof(struct sock_filter);
        AgentSpec spec = {
                .magic = AGENT_SPEC_MAGIC,
                .n_arguments = (uint32_t) arguments->n_words,
                .n_filter = request->type->filter.count,
                .server_has_fuse = arguments->names_fuse_fd,
        };
        struct iovec parts[2 + AGENT_ARGUMENTS_MAX] = {
                {.iov_base = &spec, .iov_len = sizeof spec},
                {.iov_base = (void *) policy_filter(request->table, request->type), .iov_len = filter_size},
        };
        _cleanup_fd_ int fd = -EBADF;
        size_t size = sizeof spec + filter_size;
        int r;

        r = fill_slots(request, first_slot_fd, &spec);
        if (r < 0)
                return r;
        for (size_t i = 0; i < arguments->n_words; i++) {
                size_t length = strlen(arguments->words[i]) + 1;
                spec.arguments[i] = (uint32_t) size;
                parts[2 + i] = (struct iovec){.iov_base = arguments->words[i], .iov_len = length};
                size += length;
        }
        if (size > AGENT_SPEC_SIZE_MAX)
                return -E2BIG;
        spec.size = (uint32_t) size;

        fd = RET_NERRNO(memfd_create("fused-agent", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        if (fd < 0)
                return fd;
        ssize_t n = RET_NERRNO(writev(fd, parts, (int) (2 + arguments->n_words)));
        if (n < 0)
                return (int) n;
        if ((size_t) n != size)
                return -EIO;
        r = RET_NERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(fd);
        return 0;
}
