#include "landlock.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What Debian 12's headers do not know yet. */
#define FS_TRUNCATE (UINT64_C(1) << 14)  /* ABI 3, Linux 6.2 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5, Linux 6.10 */
#define NET_BIND_TCP (UINT64_C(1) << 0)  /* ABI 4, Linux 6.7 */
#define SCOPE_ALL UINT64_C(3)            /* ABI 6, Linux 6.12: abstract sockets, signals */

#define FS_ABI_1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE                                                                                                       \
    (FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE |          \
     FS_TRUNCATE)
/* The only rights that a rule for something else than a folder may have. */
#define FS_OF_FILES                                                                                                    \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE)

/* The kernel's struct of ABI 6; earlier kernels take its beginning, or all of it when the rest is zero. */
struct ruleset {
    uint64_t fs, net, scoped;
};

static int abi(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
    return version < 0 ? -errno : (int)version;
}

static uint64_t known_rights(int version)
{
    uint64_t rights = FS_ABI_1;
    if (version >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        rights |= FS_TRUNCATE;
    if (version >= 5)
        rights |= FS_IOCTL_DEV;
    return rights;
}

int landlock_begin(void)
{
    int version = abi();
    if (version < 0)
        return version;
    struct ruleset ruleset = {
        .fs = known_rights(version), .net = version >= 4 ? NET_BIND_TCP : 0, .scoped = version >= 6 ? SCOPE_ALL : 0};
    long fd = syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0u);
    return fd < 0 ? -errno : (int)fd;
}

int landlock_allow(int ruleset, const char *path, enum landlock_access access)
{
    int version = abi();
    if (version < 0)
        return version;
    _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st))
        return -errno;
    static const uint64_t rights[] = {
        [LANDLOCK_READ] = FS_READ, [LANDLOCK_REMOVE] = LANDLOCK_ACCESS_FS_REMOVE_FILE, [LANDLOCK_WRITE] = FS_WRITE};
    struct landlock_path_beneath_attr rule = {.allowed_access = rights[access] & known_rights(version),
                                              .parent_fd = fd};
    if (!S_ISDIR(st.st_mode))
        rule.allowed_access &= FS_OF_FILES;
    if (!rule.allowed_access)
        return 0;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0u) && errno != EBADFD)
        return -errno;
    return 0;
}

int landlock_enforce(int ruleset)
{
    return syscall(SYS_landlock_restrict_self, ruleset, 0u) ? -errno : 0;
}
