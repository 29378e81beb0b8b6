/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The words of -o. What they mean is the supervisor's to say. */

#include <string.h>

#include "client/fusectl.h"

void option_words_done(OptionWords *options) {
        for (size_t i = 0; i < options->n; i++)
                free(options->words[i]);
        free(options->words);
        *options = (OptionWords){0};
}

int option_words_add(OptionWords *options, const char *list) {
        char *copy _cleanup_free_ = strdup(list), *cursor = copy, *word;

        if (!copy)
                return -ENOMEM;
        while ((word = strsep(&cursor, ","))) {
                char **words, *own;
                if (!*word)
                        continue;
                own = strdup(word);
                words = own ? reallocarray(options->words, options->n + 1, sizeof *words) : NULL;
                if (!words) {
                        free(own);
                        return -ENOMEM;
                }
                options->words = words;
                words[options->n++] = own;
        }
        return 0;
}

bool option_words_have(const OptionWords *options, const char *word) {
        for (size_t i = 0; i < options->n; i++)
                if (strcmp(options->words[i], word) == 0)
                        return true;
        return false;
}
