/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For the main() of programs that run below the broker's seccomp filter: the search for leaks at exit needs ptrace(2), which
 * nobody there has. Unit tests, which do not include this, look for leaks. */

#ifdef __SANITIZE_ADDRESS__
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void) {
        return "detect_leaks=0";
}
#endif
