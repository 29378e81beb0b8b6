/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See trust.h. */

#include "program/trust.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define SIGNATURE_SIZE 64

int trust_read(int fd, size_t max, void **ret, size_t *ret_size, Report *report) {
        _cleanup_free_ char *data = malloc(max + 1);
        size_t size = 0;

        if (!data)
                return -ENOMEM;
        for (;;) {
                ssize_t n = RET_NERRNO(pread(fd, data + size, max + 1 - size, (off_t) size));
                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return (int) n;
                if (n == 0)
                        break;
                size += (size_t) n;
                if (size > max)
                        return report_fail(report, "size", "it is larger than %zu bytes", max);
        }
        *ret = TAKE_PTR(data);
        *ret_size = size;
        return 0;
}

static int check_digest(const char *expected, const void *object, size_t size, Report *report) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        char text[2 * 32 + 1];
        unsigned length;

        if (EVP_Digest(object, size, digest, &length, EVP_sha256(), NULL) != 1 || length != 32)
                return -EIO;
        for (size_t i = 0; i < 32; i++)
                (void) snprintf(text + 2 * i, 3, "%02x", digest[i]);
        if (strcmp(text, expected) != 0)
                return report_fail(report, "digest", "SHA-256 is %s, the policy lists another", text);
        report_pass(report, "digest", "SHA-256 %s", text);
        return 0;
}

DEFINE_CLEANUP(EVP_PKEY *, keyp, EVP_PKEY_free)
DEFINE_CLEANUP(BIO *, biop, BIO_free_all)
DEFINE_CLEANUP(EVP_MD_CTX *, contextp, EVP_MD_CTX_free)

static int check_signature(const Trust *trust, const void *object, size_t size, Report *report) {
        _cleanup_free_ void *signature = NULL, *pem = NULL;
        _cleanup_(contextp) EVP_MD_CTX *context = EVP_MD_CTX_new();
        _cleanup_(keyp) EVP_PKEY *key = NULL;
        _cleanup_(biop) BIO *bio = NULL;
        size_t n_signature, n_pem;
        int r;

        r = trust_read(trust->signature_fd, 4096, &signature, &n_signature, report);
        if (r >= 0)
                r = trust_read(trust->key_fd, 4096, &pem, &n_pem, report);
        if (r < 0)
                return r;
        bio = BIO_new_mem_buf(pem, (int) n_pem);
        key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
        if (!key || EVP_PKEY_id(key) != EVP_PKEY_ED25519)
                return report_fail(report, "signature", "the public key is no Ed25519 key in PEM");
        if (n_signature != SIGNATURE_SIZE)
                return report_fail(report, "signature", "the signature has %zu bytes, not 64", n_signature);
        if (!context || EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) != 1 ||
            EVP_DigestVerify(context, signature, n_signature, object, size) != 1)
                return report_fail(report, "signature", "the signature is not of this object by this key");
        report_pass(report, "signature", "Ed25519, by the listed key");
        return 0;
}

int trust_check(const Trust *trust, const void *object, size_t size, Report *report) {
        int r = 0;

        if (!trust->sha256 && trust->signature_fd < 0)
                return report_fail(report, "digest", "the policy lists neither a digest nor a signature");
        if (trust->sha256)
                r = check_digest(trust->sha256, object, size, report);
        if (r >= 0 && trust->signature_fd >= 0)
                r = check_signature(trust, object, size, report);
        return r;
}
