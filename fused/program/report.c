/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See report.h. */

#include "program/report.h"

#include <stdarg.h>
#include <string.h>

static void print_string(FILE *stream, const char *text) {
        (void) fputc('"', stream);
        for (; *text; text++)
                if (*text == '"' || *text == '\\' || (unsigned char) *text < ' ')
                        (void) fprintf(stream, "\\u%04x", (unsigned char) *text);
                else
                        (void) fputc(*text, stream);
        (void) fputc('"', stream);
}

void report_begin(Report *report, const char *name) {
        if (!report->stream)
                return;
        if (report->json) {
                (void) fputs("{\"program\":", report->stream);
                print_string(report->stream, name);
                (void) fputs(",\"checks\":[", report->stream);
        } else
                (void) fprintf(report->stream, "%s\n", name);
}

static void line(Report *report, bool passed, const char *rule, const char *text) {
        FILE *stream = report->stream;

        if (!stream)
                return;
        if (!report->json) {
                (void) fprintf(stream, "  %s  %-12s %s\n", passed ? "pass" : "FAIL", rule, text);
                return;
        }
        (void) fprintf(stream, "%s{\"check\":\"%s\",\"passed\":%s,\"text\":", report->n++ ? "," : "", rule, passed ? "true" : "false");
        print_string(stream, text);
        (void) fputc('}', stream);
}

void report_pass(Report *report, const char *rule, const char *format, ...) {
        char text[sizeof report->text];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        line(report, true, rule, text);
}

int report_fail(Report *report, const char *rule, const char *format, ...) {
        char text[sizeof report->text];
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        line(report, false, rule, text);
        if (!*report->rule) {
                (void) snprintf(report->rule, sizeof report->rule, "%s", rule);
                (void) snprintf(report->text, sizeof report->text, "%s", text);
        }
        return -EPERM;
}

int report_cannot(Report *report, int error, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        (void) vsnprintf(report->text, sizeof report->text, format, arguments);
        va_end(arguments);
        return error;
}

static void end_json(const Report *report, int result, const char *why) {
        (void) fprintf(report->stream, "],\"accepted\":%s", result < 0 ? "false" : "true");
        if (why) {
                (void) fputs(",\"error\":", report->stream);
                print_string(report->stream, why);
        }
        (void) fputs("}\n", report->stream);
}

const char *report_why_not(const Report *report, int result) {
        return result >= 0 || *report->rule ? NULL : *report->text ? report->text : strerror(-result);
}

void report_end(Report *report, int result) {
        const char *why = report_why_not(report, result);

        if (report->stream && report->json)
                end_json(report, result, why);
        else if (report->stream && !why)
                (void) fputs(result < 0 ? "refused\n" : "accepted\n", report->stream);
}
