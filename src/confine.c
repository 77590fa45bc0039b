#include "confine.h"

#include "base/cleanup.h"
#include "landlock.h"
#include "privileges.h"
#include "secrets.h"
#include "sources.h"
#include "syscalls.h"
#include "version.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What https needs to believe a server: the authorities, in Debian and elsewhere, and what OpenSSL reads first. */
static const char *const for_https[] = {
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/lib/ssl",
    "/etc/pki/tls",
    "/etc/pki/ca-trust/extracted",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
};

/* Where a build for tests writes down what ran of it, and reads its symbols; empty in all others. */
static const char instrumented_in[] = EGRESS_INSTRUMENTED_IN;

static void folder_of(const char *path, char folder[PATH_MAX])
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", path);
    snprintf(folder, PATH_MAX, "%s", dirname(copy));
}

static int allow_if_there(int rules, const char *path, enum landlock_access access)
{
    int error = landlock_allow(rules, path, access);
    return error == -ENOENT || error == -ENOTDIR || error == -EACCES || error == -ELOOP ? 0 : error;
}

/* The folder of a file, since the file may be replaced. In the root folder that would be everything: there the file
 * alone. */
static int allow_around(int rules, const char *path, enum landlock_access access)
{
    char folder[PATH_MAX];
    folder_of(path, folder);
    return allow_if_there(rules, strcmp(folder, "/") ? folder : path, access);
}

/* The same, and where the file is a symbolic link, around what it leads to. */
static int allow_file(int rules, const char *path, enum landlock_access access)
{
    int error = path ? allow_around(rules, path, access) : 0;
    _cleanup_free_ char *real = path ? realpath(path, NULL) : NULL;
    return error || !real ? error : allow_around(rules, real, access);
}

/* The folder of always files may come, go and be a link that is exchanged: reading begins at the folder above, and
 * while that is missing at the first one above it that is there. Never everything, though. */
static int allow_rules(int rules, const char *path)
{
    char folder[PATH_MAX], file[PATH_MAX];
    int error = allow_if_there(rules, path, LANDLOCK_READ);
    folder_of(path, folder);
    struct stat st;
    while (strcmp(folder, "/") && strcmp(folder, ".") && stat(folder, &st) && errno == ENOENT) {
        snprintf(file, sizeof(file), "%s", folder);
        folder_of(file, folder);
    }
    if (!error && strcmp(folder, "/"))
        error = allow_if_there(rules, folder, LANDLOCK_READ);
    for (size_t i = 0; i < ALWAYS_FILES && !error; i++)
        if (snprintf(file, sizeof(file), "%s/%s", path, always_files[i]) < (int)sizeof(file))
            error = allow_file(rules, file, LANDLOCK_READ);
    return error;
}

/* Of a log file the folder, to rotate in. Devices, FIFOs and the like are opened anew, nothing else; /dev is not for
 * writing because of /dev/null. */
static int allow_log(int rules, const char *path)
{
    struct stat st;
    if (!strcmp(path, "stdout") || !strcmp(path, "stderr"))
        return 0;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return allow_if_there(rules, path, LANDLOCK_WRITE);
    return allow_file(rules, path, LANDLOCK_WRITE);
}

static int allow_all(int rules, const struct config *config, const struct otel_env *otel)
{
    const char *const certificates[] = {
        otel->metrics.certificate, otel->metrics.client_key, otel->metrics.client_certificate,
        otel->logs.certificate,    otel->logs.client_key,    otel->logs.client_certificate,
    };
    bool sends = config->webhook || otel->metrics.url || otel->logs.url;
    /* For metrics: meminfo, stat, self/statm. What is secret in there the kernel guards itself. */
    int error = allow_if_there(rules, "/proc", LANDLOCK_READ);
    for (size_t i = 0; i < sizeof(for_https) / sizeof(for_https[0]) && sends && !error; i++)
        error = allow_if_there(rules, for_https[i], LANDLOCK_READ);
    for (size_t i = 0; i < sizeof(certificates) / sizeof(certificates[0]) && !error; i++)
        error = allow_file(rules, certificates[i], LANDLOCK_READ);
    for (size_t i = 0; i < config->n_log_outputs && !error; i++)
        error = allow_log(rules, config->log_outputs[i]);
    if (!error)
        error = allow_file(rules, config->policy_file, LANDLOCK_WRITE);
    const char *const tls[] = {config->tls_cert, config->tls_key, config->tls_client_ca};
    for (size_t i = 0; i < sizeof(tls) / sizeof(tls[0]) && !error; i++)
        error = allow_file(rules, tls[i], LANDLOCK_READ);
    if (!error && config->http_socket) /* removed at the end */
        error = allow_around(rules, config->http_socket, LANDLOCK_REMOVE);
    if (!error && sizeof(instrumented_in) > 1)
        error = allow_if_there(rules, instrumented_in, LANDLOCK_WRITE);
    return error ? error : allow_rules(rules, config->rules_dir);
}

static int confine_files(const struct config *config, const struct otel_env *otel, struct log *log, struct why *why)
{
    _cleanup_close_ int rules = landlock_begin();
    if (rules == -ENOSYS || rules == -EOPNOTSUPP || rules == -EPERM) { /* EPERM: a container's own filter */
        log_printf(log, LOG_DEBUG, "Landlock is not to be had (%s): which files are opened is not restricted",
                   strerrordesc_np(-rules));
        return 0;
    }
    int error = rules < 0 ? rules : allow_all(rules, config, otel);
    if (!error)
        error = landlock_enforce(rules);
    return error ? why_set(why, error, "Landlock: %s", strerrordesc_np(-error)) : 0;
}

int confine(const struct config *config, const struct otel_env *otel, struct log *log, struct why *why)
{
    struct why reason;
    secrets_hide();
    if (!privileges_are_bounded())
        log_printf(log, LOG_DEBUG, "without CAP_SETPCAP the capability bounding set stays as it is");
    int error = confine_files(config, otel, log, why);
    if (error)
        return error;
    if (!EGRESS_FILTER_SYSCALLS)
        log_printf(log, LOG_WARN, "built for tests: system calls are not restricted");
    else if (syscalls_restrict(&reason))
        log_printf(log, LOG_WARN, "system calls are not restricted: %s", reason.text);
    return 0;
}
