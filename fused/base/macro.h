/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Small helpers that every folder uses. Ownership marks follow one rule: each owning local has a cleanup attribute and
 * an initialiser; it leaves its scope through TAKE_FD or TAKE_PTR, and through nothing else. */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _must_check_ __attribute__((warn_unused_result))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))
#define _noreturn_ __attribute__((noreturn))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))

/* Turns libc's "-1 and errno" into a negative errno, at the call. */
#define RET_NERRNO(expr)                                       \
        ({                                                     \
                __typeof__(expr) _r = (expr);                  \
                _r < 0 ? (__typeof__(expr)) -errno : _r;       \
        })

#define TAKE_GENERIC(var, type, nullvalue)                     \
        ({                                                     \
                type *_p = &(var);                             \
                type _v = *_p;                                 \
                *_p = (nullvalue);                             \
                _v;                                            \
        })
#define TAKE_PTR(p) TAKE_GENERIC(p, __typeof__(p), NULL)
#define TAKE_FD(fd) TAKE_GENERIC(fd, int, -EBADF)

#define DEFINE_CLEANUP(type, name, func)                       \
        static inline void name(type *p) {                     \
                func(*p);                                      \
        }

static inline void freep(void *p) {
        int saved = errno;
        free(*(void **) p);
        errno = saved;
}
#define _cleanup_free_ _cleanup_(freep)

#define USEC_PER_SEC 1000000ULL
#define USEC_PER_MSEC 1000ULL

#define MIN_OF(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a < _b ? _a : _b; })
#define MAX_OF(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a > _b ? _a : _b; })

/* The length of a struct that is followed by nothing: used to check exact packet sizes. */
#define ALIGN_TO(x, a) (((x) + (a) -1) / (a) * (a))

/* What counts against limits in MiB: part of one is one. Small enough that two of them can be added. */
static inline uint32_t mib_of(uint64_t bytes) {
        return (uint32_t) MIN_OF((bytes + (1 << 20) - 1) >> 20, (uint64_t) UINT32_MAX / 2);
}
