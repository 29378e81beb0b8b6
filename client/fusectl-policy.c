/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fusectl policy explain */

#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "base/text.h"
#include "client/fusectl.h"

#define GROUPS_MAX 64

/* Ids of a user of this host, by name or number. */
static int ids_of_user(const char *name, FusedExplainRequest *request, gid_t groups[static GROUPS_MAX]) {
        const struct passwd *user = getpwnam(name);
        int n = GROUPS_MAX;
        char *end;

        if (!user) {
                unsigned long uid = strtoul(name, &end, 10);
                if (!*name || *end || uid >= UINT32_MAX)
                        return failure("there is no user %s", name);
                user = getpwuid((uid_t) uid);
                request->uid = request->gid = (uint32_t) uid;
                if (!user)
                        return 0;
        }
        request->uid = user->pw_uid;
        request->gid = user->pw_gid;
        (void) getgrouplist(user->pw_name, user->pw_gid, groups, &n); /* more than we can pass: the first ones */
        request->n_groups = (size_t) MIN_OF(n, GROUPS_MAX);
        request->groups = groups;
        return 0;
}

static void print_answer(json_object *answer) {
        bool allowed = is_true(answer, "allowed");
        char text[1024], members[512];

        (void) text_clean(text_of(answer, allowed ? "options" : "text"), "", text, sizeof text);
        printf("%s%s%s\n", allowed ? "allowed" : "refused", *text ? ": " : "", text);
        if (*text_of(answer, "place"))
                printf("  by: %s\n", text_of(answer, "place"));
        if (!allowed) {
                printf("  word: %s\n", text_of(answer, "refusal"));
                if (*text_of(answer, "hint"))
                        printf("  what would help: %s\n", text_of(answer, "hint"));
        }
        printf("  limits: %s\n", format_members(answer, "limits", members, sizeof members));
        printf("  in use: %s\n", format_members(answer, "usage", members, sizeof members));
}

static int explain(Context *context, FusedExplainRequest *request, const char *path, OptionWords *words) {
        _cleanup_(source_done) Source source = SOURCE_NULL;
        _cleanup_(slots_done) Slots slots = {0};
        FusedSource filled[SLOTS_MAX];
        _cleanup_json_ json_object *answer = NULL;
        FusedError error = {0};
        int status;

        status = source_open(path, /* read_only= */ true, /* any= */ true, &source);
        if (status == 0)
                status = slots_open(words, /* read_only= */ true, /* any= */ true, &slots);
        if (status != 0)
                return status;
        status = connect_to_fused(context);
        if (status != 0)
                return status;
        request->source = (FusedSource){.fd = source.fd, .kind = source.kind};
        request->slots = filled;
        request->n_slots = slots_fill(&slots, filled);
        request->options = (const char *const *) words->words;
        request->n_options = words->n;
        if (fused_explain(context->client, request, &answer, &error) < 0)
                return report(&error);
        if (context->json)
                print_json(answer);
        else
                print_answer(answer);
        return is_true(answer, "allowed") ? EXIT_DONE : EXIT_REFUSED;
}

int command_policy(Context *context, int argc, char **argv) {
        static const struct option options[] = {{"user", required_argument, NULL, 'u'}, {0}};
        static const char syntax[] = "policy explain TYPE SOURCE [-o OPT,...] [--user NAME]";
        _cleanup_(option_words_done) OptionWords words = {0};
        FusedExplainRequest request = {0};
        gid_t groups[GROUPS_MAX];
        const char *user = NULL;
        int c, status;

        while ((c = getopt_long(argc, argv, "o:", options, NULL)) >= 0)
                if (c == 'u')
                        user = optarg;
                else if (c != 'o')
                        return usage_error("%s", syntax);
                else if (option_words_add(&words, optarg) < 0)
                        return failure("out of memory");
        if (argc - optind != 3 || strcmp(argv[optind], "explain") != 0)
                return usage_error("%s", syntax);
        request.type = argv[optind + 1];
        if (user) {
                request.as_other = true;
                status = ids_of_user(user, &request, groups);
                if (status != 0)
                        return status;
        }
        return explain(context, &request, argv[optind + 2], &words);
}
