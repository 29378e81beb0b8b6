/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of a server: the words of its type with the specifiers filled in. Nothing of it comes from a client
 * but the listed server options in %o, which are one word (or part of one) and never a command. See policy-table.h. */

#include <stdio.h>
#include <string.h>

#include "launcher/launcher.h"

#define WORD_MAX 4096

typedef struct Word {
        char text[WORD_MAX];
        size_t length;
} Word;

static int word_add(Word *word, const char *text, size_t length) {
        if (length >= sizeof word->text - word->length)
                return -E2BIG;
        memcpy(word->text + word->length, text, length);
        word->length += length;
        word->text[word->length] = 0;
        return 0;
}

static int add_slot(Word *word, const SpawnRequest *request, const char *name, size_t length) {
        static const char prefix[] = "/slots/";

        for (size_t i = 0; i < request->n_slots; i++) {
                const char *path = request->slots[i].path;
                if (strncmp(path, prefix, strlen(prefix)) != 0)
                        continue;
                const char *slot = path + strlen(prefix);
                if (strlen(slot) == length && memcmp(slot, name, length) == 0)
                        return word_add(word, path, strlen(path));
        }
        return -EINVAL; /* the type names a slot that it does not have */
}

static int add_options(Word *word, const SpawnRequest *request) {
        const char *access = request->read_only ? "ro" : "rw";
        int r;

        r = word_add(word, access, strlen(access));
        if (r < 0 || !request->server_options || !request->server_options[0])
                return r;
        r = word_add(word, ",", 1);
        return r < 0 ? r : word_add(word, request->server_options, strlen(request->server_options));
}

/* *text stands behind the percent sign; it is moved behind the specifier. */
static int add_specifier(Word *word, const SpawnRequest *request, const char **text, bool *names_fuse_fd) {
        char device[32];
        const char *end;

        switch (*(*text)++) {
        case '%':
                return word_add(word, "%", 1);
        case 's':
                return add_slot(word, request, "source", strlen("source"));
        case 'm':
                return word_add(word, SPAWN_MOUNT_PATH, strlen(SPAWN_MOUNT_PATH));
        case 'o':
                return add_options(word, request);
        case 'd':
                *names_fuse_fd = true;
                (void) snprintf(device, sizeof device, "/dev/fd/%d", SPAWN_FUSE_FD);
                return word_add(word, device, strlen(device));
        case '{':
                end = strchr(*text, '}');
                if (!end)
                        return -EINVAL;
                const char *name = *text;
                *text = end + 1;
                return add_slot(word, request, name, (size_t) (end - name));
        default: /* the loader of the policy refuses it with a message; a table from elsewhere gets this */
                return -EINVAL;
        }
}

static int expand_word(const SpawnRequest *request, const char *text, bool *names_fuse_fd, char **ret) {
        Word word = {0};
        int r;

        while (*text) {
                size_t plain = strcspn(text, "%");
                r = word_add(&word, text, plain);
                if (r < 0)
                        return r;
                text += plain;
                if (!*text)
                        break;
                text++;
                r = add_specifier(&word, request, &text, names_fuse_fd);
                if (r < 0)
                        return r;
        }
        *ret = strdup(word.text);
        return *ret ? 0 : -ENOMEM;
}

void spawn_arguments_done(SpawnArguments *arguments) {
        for (size_t i = 0; i < arguments->n_words; i++)
                free(arguments->words[i]);
        *arguments = (SpawnArguments){0};
}

int spawn_arguments_expand(const SpawnRequest *request, SpawnArguments *ret) {
        _cleanup_(spawn_arguments_done) SpawnArguments arguments = {0};
        const PolicyType *type = request->type;
        int r;

        if (type->arguments.count > SPAWN_ARGUMENTS_MAX)
                return -E2BIG;
        arguments.words[0] = strdup(policy_string(request->table, type->program));
        if (!arguments.words[0])
                return -ENOMEM;
        arguments.n_words = 1;
        for (uint32_t i = 0; i < type->arguments.count; i++) {
                const char *text = policy_argument(request->table, type, i);
                r = expand_word(request, text, &arguments.names_fuse_fd, &arguments.words[arguments.n_words]);
                if (r < 0)
                        return r;
                arguments.n_words++;
        }
        *ret = TAKE_GENERIC(arguments, SpawnArguments, (SpawnArguments){0});
        return 0;
}
