#include "api/tls.h"

#include "api/server.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <string.h>

#define PEM_MAX (1u << 20)
#define CERTIFICATE "OPENSANDBOX_EGRESS_TLS_CERT"
#define KEY "OPENSANDBOX_EGRESS_TLS_KEY"
#define CLIENT_CA "OPENSANDBOX_EGRESS_TLS_CLIENT_CA"

static int read_one(const char *variable, const char *path, struct buf *ret, struct why *why)
{
    int error = file_read(path, PEM_MAX, ret);
    buf_putc(ret, '\0');
    if (!error && ret->failed)
        error = -ENOMEM;
    return error ? why_set(why, error, "%s=\"%s\": %s", variable, path, strerrordesc_np(-error)) : 0;
}

static gnutls_datum_t datum(const struct buf *text)
{
    return (gnutls_datum_t){(unsigned char *)text->data, (unsigned)text->len - 1};
}

static void cleanup_credentials(gnutls_certificate_credentials_t *credentials)
{
    if (*credentials)
        gnutls_certificate_free_credentials(*credentials);
}

static int fits(const struct tls_paths *paths, const struct tls_texts *texts, struct why *why)
{
    _cleanup_(cleanup_credentials) gnutls_certificate_credentials_t credentials = NULL;
    if (gnutls_certificate_allocate_credentials(&credentials))
        return why_set(why, -ENOMEM, "out of memory");
    gnutls_datum_t certificate = datum(&texts->certificate), key = datum(&texts->key);
    int code = gnutls_certificate_set_x509_key_mem(credentials, &certificate, &key, GNUTLS_X509_FMT_PEM);
    if (code < 0)
        return why_set(why, -EINVAL, CERTIFICATE "=\"%s\" and " KEY "=\"%s\": %s", paths->certificate, paths->key,
                       gnutls_strerror(code));
    if (!paths->client_ca)
        return 0;
    gnutls_datum_t authority = datum(&texts->client_ca);
    code = gnutls_certificate_set_x509_trust_mem(credentials, &authority, GNUTLS_X509_FMT_PEM);
    if (code <= 0)
        return why_set(why, -EINVAL, CLIENT_CA "=\"%s\": %s", paths->client_ca,
                       code ? gnutls_strerror(code) : "it has no certificate");
    return 0;
}

int tls_read(const struct tls_paths *paths, struct tls_texts *ret, struct why *why)
{
    _cleanup_tls_texts_ struct tls_texts texts = {0};
    int error = read_one(CERTIFICATE, paths->certificate, &texts.certificate, why);
    if (!error)
        error = read_one(KEY, paths->key, &texts.key, why);
    if (!error && paths->client_ca)
        error = read_one(CLIENT_CA, paths->client_ca, &texts.client_ca, why);
    if (!error)
        error = fits(paths, &texts, why);
    if (error)
        return error;
    *ret = texts;
    texts = (struct tls_texts){0};
    return 0;
}

void tls_texts_done(struct tls_texts *texts)
{
    if (texts->key.data)
        explicit_bzero(texts->key.data, texts->key.cap);
    buf_done(&texts->certificate);
    buf_done(&texts->key);
    buf_done(&texts->client_ca);
}

void tls_look(const struct tls_paths *paths, struct tls_stamp *ret)
{
    const char *const names[] = {paths->certificate, paths->key, paths->client_ca};
    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat st;
        if (!names[i] || stat(names[i], &st))
            continue;
        ret->of[i].device = st.st_dev;
        ret->of[i].inode = st.st_ino;
        ret->of[i].size = st.st_size;
        ret->of[i].changed = st.st_ctim; /* no program sets it back */
    }
}

bool tls_stamp_equal(const struct tls_stamp *a, const struct tls_stamp *b)
{
    for (size_t i = 0; i < sizeof(a->of) / sizeof(a->of[0]); i++)
        if (a->of[i].device != b->of[i].device || a->of[i].inode != b->of[i].inode || a->of[i].size != b->of[i].size ||
            a->of[i].changed.tv_sec != b->of[i].changed.tv_sec || a->of[i].changed.tv_nsec != b->of[i].changed.tv_nsec)
            return false;
    return true;
}

bool tls_client_is_known(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    gnutls_session_t session = info ? info->tls_session : NULL;
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status, n = 0;
    return session && gnutls_certificate_get_peers(session, &n) && n &&
           !gnutls_certificate_verify_peers(session, &purpose, 1, &status) && !status;
}

static void look_again(struct api *api)
{
    loop_timer_set(api->loop, &api->tls.look, loop_now(api->loop) + TLS_LOOK_MS * NS_PER_MS);
}

/* The old pair goes on until the new one can be used. */
static void on_look(struct loop_timer *timer)
{
    struct api *api = timer->owner;
    struct tls_watch *watch = &api->tls;
    struct tls_stamp now;
    struct why why;
    tls_look(&api->settings.tls, &now);
    bool settled = tls_stamp_equal(&now, &watch->seen);
    watch->complained &= settled;
    watch->seen = now;
    if (settled && !watch->complained && !tls_stamp_equal(&now, &watch->loaded)) {
        int error = server_renew_tls(api, &why);
        if (!error) {
            watch->loaded = now;
            log_printf(api->log, LOG_INFO, "the API's certificate was read anew");
        } else if (error != -EAGAIN) {
            watch->complained = true;
            log_printf(api->log, LOG_WARN, "the API keeps its old certificate: %s", why.text);
        }
    }
    if (!api->stopping)
        look_again(api);
}

void tls_watch_start(struct api *api)
{
    tls_look(&api->settings.tls, &api->tls.loaded);
    api->tls.seen = api->tls.loaded;
    api->tls.look = (struct loop_timer){.fire = on_look, .owner = api};
    look_again(api);
}
