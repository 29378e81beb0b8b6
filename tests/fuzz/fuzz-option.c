/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mount options as users and servers write them: what is known says itself again in the same words' meaning, and no
 * word that goes to a server is more than one word.
 *
 * Input: words separated by commas; behind the first NUL a type's list of server options. */

#include <stdlib.h>
#include <string.h>

#include "policy/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const MountOptions *options) {
        char text[256], *cursor = text, *word;
        MountOptions again = {0};

        mount_options_format(options, text, sizeof text);
        while ((word = strsep(&cursor, ",")))
                if (mount_options_parse_word(word, &again) != 1)
                        abort();
        if (again.bits != options->bits)
                abort();
        if ((options->bits & POLICY_OPTION_MAX_READ && again.max_read != options->max_read) ||
            (options->bits & POLICY_OPTION_BLKSIZE && again.blksize != options->blksize))
                abort();
        if (!(mount_options_attributes(options) & 2) != !!(options->bits & POLICY_OPTION_SUID)) /* MOUNT_ATTR_NOSUID */
                abort();
}

static void check_flags(const char *text) {
        MountOptions options = {0};
        uint32_t flags = 0;

        memcpy(&flags, text, strnlen(text, sizeof flags));
        if (mount_options_from_ms_flags(flags, &options) == 0)
                check_text(&options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *copy _cleanup_free_ = calloc(1, size + 2), *cursor = copy, *word;
        MountOptions options = {0};

        if (!copy)
                return 0;
        memcpy(copy, data, size);
        const char *listed = copy + strlen(copy) + 1; /* inside: two NULs are behind the input */
        check_flags(copy);
        while ((word = strsep(&cursor, ","))) {
                const MountOptions before = options;
                int r = mount_options_parse_word(word, &options);
                if (r != 1 && memcmp(&before, &options, sizeof options) != 0)
                        abort(); /* what is refused leaves no trace */
                if (options.bits & ~(uint32_t) _POLICY_OPTION_ALL)
                        abort();
                if (server_option_is_listed(listed, word) && strpbrk(word, ",\\"))
                        abort();
                check_text(&options);
        }
        (void) server_option_is_listed(listed, copy);
        return 0;
}
