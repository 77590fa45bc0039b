/* Run as root or under `unshare -Urn`: file systems are mounted in a mount namespace of the test's own. */
#include "base/file.h"
#include "tests/unit/runner.h"
#include "tests/unit/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define OLD "{\"old\":true}\n"
#define NEW "{\"new\":true,\"longer\":\"than the old one\"}\n"

static struct scratch scratch;
static char path[SCRATCH_PATH_MAX]; /* of the policy file in most tests */

static void setup(void)
{
    ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
    ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    scratch_make(&scratch);
    strcpy(path, scratch_path(&scratch, "policy.json"));
}

static void teardown(void)
{
    while (umount2(path, MNT_DETACH) == 0)
        ;
    while (umount2(scratch.folder, MNT_DETACH) == 0)
        ;
    scratch_remove(&scratch);
}

static int prepare(const char *data, struct file_replacement **ret, struct why *why)
{
    why->text[0] = '\0';
    return file_replacement_prepare(path, data, strlen(data), ret, why);
}

static int replace(const char *data, struct why *why)
{
    struct file_replacement *r;
    int error = prepare(data, &r, why);
    return error ? error : file_replacement_commit(r, why);
}

static void assert_content(const char *file, const char *expected)
{
    char *text = scratch_read(file);
    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, expected);
    free(text);
}

static int entries(const char *folder)
{
    int n = 0;
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(dir);
    return n;
}

static struct stat stat_of(const char *file)
{
    struct stat st;
    ck_assert_int_eq(lstat(file, &st), 0);
    return st;
}

static void mount_tmpfs(const char *at, const char *options)
{
    ck_assert_int_eq(mount("tmpfs", at, "tmpfs", 0, options), 0);
}

static void make_read_only(const char *at)
{
    ck_assert_int_eq(mount(at, at, NULL, MS_BIND, NULL), 0);
    ck_assert_int_eq(mount(NULL, at, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
}

/* --- reading --- */

START_TEST(reading_has_a_limit)
{
    struct buf buf = {0};
    scratch_write(path, "12345");
    buf_puts(&buf, "0");
    ck_assert_int_eq(file_read(path, 4, &buf), -EFBIG);
    ck_assert_str_eq(buf.data, "0");
    ck_assert_int_eq(file_read(path, 5, &buf), 0);
    ck_assert_str_eq(buf.data, "012345");
    ck_assert_int_eq(file_read("/dev/zero", 100000, &buf), -EFBIG);
    ck_assert_int_eq(file_read(scratch.folder, 5, &buf), -EISDIR);
    ck_assert_int_eq(file_read(scratch_path(&scratch, "none"), 5, &buf), -ENOENT);
    ck_assert_str_eq(buf.data, "012345");
    buf_done(&buf);
}
END_TEST

START_TEST(reading_empty_and_large_files)
{
    struct buf buf = {0};
    scratch_write(path, "");
    ck_assert_int_eq(file_read(path, 0, &buf), 0);
    ck_assert_uint_eq(buf.len, 0);
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 100000; i++)
        fprintf(f, "%06d", i);
    fclose(f);
    ck_assert_int_eq(file_read(path, 600000, &buf), 0);
    ck_assert_uint_eq(buf.len, 600000);
    ck_assert_mem_eq(buf.data + 599994, "099999", 6);
    buf_done(&buf);
}
END_TEST

/* --- replacing --- */

START_TEST(a_new_file_is_for_its_owner_only)
{
    struct why why;
    ck_assert_int_eq(replace(NEW, &why), 0);
    assert_content(path, NEW);
    ck_assert_uint_eq(stat_of(path).st_mode & 07777, 0600);
    ck_assert_int_eq(entries(scratch.folder), 1);
}
END_TEST

START_TEST(mode_and_owner_are_kept)
{
    struct why why;
    scratch_write(path, OLD);
    ck_assert_int_eq(chmod(path, 0646), 0);
    /* As real root; in a user namespace there is no other owner to give it to. */
    bool other = chown(path, 12345, 23456) == 0;
    ino_t before = stat_of(path).st_ino;
    ck_assert_int_eq(replace(NEW, &why), 0);
    struct stat st = stat_of(path);
    assert_content(path, NEW);
    ck_assert_uint_eq(st.st_mode & 07777, 0646);
    ck_assert(!other || (st.st_uid == 12345 && st.st_gid == 23456));
    ck_assert_uint_ne(st.st_ino, before);
}
END_TEST

START_TEST(prepare_alone_changes_nothing)
{
    struct why why;
    struct file_replacement *r;
    scratch_write(path, OLD);
    ck_assert_int_eq(prepare(NEW, &r, &why), 0);
    assert_content(path, OLD);
    ck_assert_int_eq(entries(scratch.folder), 2);
    file_replacement_abort(r);
    assert_content(path, OLD);
    ck_assert_int_eq(entries(scratch.folder), 1);
    file_replacement_abort(NULL);
}
END_TEST

START_TEST(links_are_followed_and_stay)
{
    struct why why;
    char target[SCRATCH_PATH_MAX];
    ck_assert_int_eq(mkdir(scratch_path(&scratch, "data"), 0700), 0);
    strcpy(target, scratch_path(&scratch, "data/real.json"));
    if (_i == 0) /* where it leads need not exist */
        scratch_write(target, OLD);
    ck_assert_int_eq(symlink("data/real.json", scratch_path(&scratch, "relative")), 0);
    ck_assert_int_eq(symlink(scratch_path(&scratch, "relative"), path), 0);
    ck_assert_int_eq(replace(NEW, &why), 0);
    assert_content(target, NEW);
    ck_assert(S_ISLNK(stat_of(path).st_mode));
    ck_assert_int_eq(entries(scratch_path(&scratch, "data")), 1);
}
END_TEST

START_TEST(what_cannot_be_written_is_said)
{
    struct why why;
    struct file_replacement *r;
    strcpy(path, scratch_path(&scratch, "none/policy.json"));
    ck_assert_int_eq(prepare(NEW, &r, &why), -ENOENT);
    ck_assert_ptr_nonnull(strstr(why.text, "none/policy.json: cannot open its folder: No such file"));
    strcpy(path, scratch_path(&scratch, ""));
    ck_assert_int_eq(prepare(NEW, &r, &why), -EINVAL);
    strcpy(path, scratch_path(&scratch, "folder"));
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(prepare(NEW, &r, &why), -EINVAL);
    strcpy(path, scratch_path(&scratch, "loop"));
    ck_assert_int_eq(symlink("loop", path), 0);
    ck_assert_int_eq(prepare(NEW, &r, &why), -ELOOP);
    path[0] = '\0';
    ck_assert_int_eq(prepare(NEW, &r, &why), -EINVAL);
    strcpy(path, scratch_path(&scratch, "policy.json"));
}
END_TEST

START_TEST(a_read_only_folder_refuses)
{
    struct why why;
    struct file_replacement *r;
    if (_i == 1)
        scratch_write(path, OLD);
    make_read_only(scratch.folder);
    ck_assert_int_eq(prepare(NEW, &r, &why), -EROFS);
    ck_assert_ptr_nonnull(strstr(why.text, "Read-only file system"));
    if (_i == 1)
        assert_content(path, OLD);
}
END_TEST

START_TEST(a_full_disk_refuses)
{
    struct why why;
    struct file_replacement *r;
    char big[32769];
    mount_tmpfs(scratch.folder, "size=16k");
    scratch_write(path, OLD);
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    ck_assert_int_eq(prepare(big, &r, &why), -ENOSPC);
    ck_assert_ptr_nonnull(strstr(why.text, "No space left"));
    assert_content(path, OLD);
    ck_assert_int_eq(entries(scratch.folder), 1);
}
END_TEST

/* --- bind-mounted files, as container runtimes make them --- */

/* Mounts data/real.json of another small file system over `path` and returns its path. */
static const char *bind_over_path(void)
{
    static char source[SCRATCH_PATH_MAX];
    char folder[SCRATCH_PATH_MAX];
    strcpy(folder, scratch_path(&scratch, "data"));
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    mount_tmpfs(folder, "size=16k");
    strcpy(source, scratch_path(&scratch, "data/real.json"));
    scratch_write(source, OLD);
    scratch_write(path, "");
    ck_assert_int_eq(mount(source, path, NULL, MS_BIND, NULL), 0);
    return source;
}

static void unbind(void)
{
    ck_assert_int_eq(umount2(path, MNT_DETACH), 0);
    ck_assert_int_eq(umount2(scratch_path(&scratch, "data"), MNT_DETACH), 0);
}

START_TEST(a_bind_mounted_file_is_written_in_place)
{
    struct why why;
    const char *source = bind_over_path();
    ck_assert_int_eq(chmod(source, 0640), 0);
    ck_assert_int_eq(replace(NEW, &why), 0);
    assert_content(source, NEW);
    ck_assert_int_eq(replace("", &why), 0); /* shorter: nothing of the longer one stays */
    assert_content(source, "");
    ck_assert_uint_eq(stat_of(path).st_mode & 07777, 0640);
    ck_assert_int_eq(entries(scratch.folder), 2);
    unbind();
}
END_TEST

START_TEST(a_bind_mounted_file_in_a_read_only_folder_is_written_in_place)
{
    struct why why;
    struct file_replacement *r;
    char outside[] = "/tmp/egress-unit-file-XXXXXX";
    int fd = mkstemp(outside);
    ck_assert_int_ge(fd, 0);
    close(fd);
    scratch_write(outside, OLD);
    scratch_write(path, "");
    make_read_only(scratch.folder);
    ck_assert_int_eq(mount(outside, path, NULL, MS_BIND, NULL), 0);
    ck_assert_int_eq(prepare(NEW, &r, &why), 0);
    assert_content(outside, OLD);
    ck_assert_int_eq(file_replacement_commit(r, &why), 0);
    assert_content(outside, NEW);
    ck_assert_int_eq(umount2(path, MNT_DETACH), 0);
    ck_assert_int_eq(unlink(outside), 0);
}
END_TEST

START_TEST(a_failed_write_in_place_puts_the_old_content_back)
{
    struct why why;
    struct file_replacement *r;
    char big[32769];
    const char *source = bind_over_path();
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    ck_assert_int_eq(prepare(big, &r, &why), 0); /* beside the mount there is room enough */
    ck_assert_int_eq(file_replacement_commit(r, &why), -ENOSPC);
    ck_assert_ptr_nonnull(strstr(why.text, "No space left"));
    assert_content(source, OLD);
    ck_assert_int_eq(entries(scratch.folder), 2);
    unbind();
}
END_TEST

START_TEST(a_read_only_bind_mount_fails_at_the_commit_at_the_latest)
{
    struct why why;
    const char *source = bind_over_path();
    ck_assert_int_eq(mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
    ck_assert_int_eq(replace(NEW, &why), -EROFS);
    assert_content(source, OLD);
    ck_assert_int_eq(entries(scratch.folder), 2);
    unbind();
}
END_TEST

START_TEST(a_file_that_cannot_be_replaced_at_last_leaves_nothing_behind)
{
    struct why why;
    struct file_replacement *r;
    ck_assert_int_eq(prepare(NEW, &r, &why), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0); /* nothing can be renamed over a folder, nor written into it */
    ck_assert_int_eq(file_replacement_commit(r, &why), -EISDIR);
    ck_assert_int_eq(entries(scratch.folder), 1);
}
END_TEST

/* --- without root's rights; a user namespace of one user has nobody to become, and this says nothing there --- */

#define NOBODY 65534

static void as_nobody(mode_t folder_mode, mode_t file_mode, int expected)
{
    struct why why;
    scratch_write(path, OLD);
    ck_assert_int_eq(chmod(path, file_mode), 0);
    ck_assert_int_eq(chmod(scratch.folder, folder_mode), 0);
    ino_t before = stat_of(path).st_ino;
    if (seteuid(NOBODY))
        return;
    int result = replace(NEW, &why);
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(result, expected);
    assert_content(path, expected ? OLD : NEW);
    ck_assert_uint_eq(stat_of(path).st_ino, before);
    ck_assert_uint_eq(stat_of(path).st_uid, 0);
    ck_assert_int_eq(entries(scratch.folder), 1);
}

START_TEST(a_writable_file_in_a_folder_of_another_is_written_in_place)
{
    as_nobody(0755, 0666, 0);
    as_nobody(0711, 0666, 0);
}
END_TEST

START_TEST(a_file_whose_owner_we_cannot_give_is_written_in_place)
{
    as_nobody(0777, 0666, 0);
}
END_TEST

START_TEST(a_file_we_may_not_write_is_refused)
{
    as_nobody(0755, 0644, -EACCES);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("file");
    TCase *tc = tcase_create("file");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, reading_has_a_limit);
    tcase_add_test(tc, reading_empty_and_large_files);
    tcase_add_test(tc, a_new_file_is_for_its_owner_only);
    tcase_add_test(tc, mode_and_owner_are_kept);
    tcase_add_test(tc, prepare_alone_changes_nothing);
    tcase_add_loop_test(tc, links_are_followed_and_stay, 0, 2);
    tcase_add_test(tc, what_cannot_be_written_is_said);
    tcase_add_loop_test(tc, a_read_only_folder_refuses, 0, 2);
    tcase_add_test(tc, a_full_disk_refuses);
    tcase_add_test(tc, a_bind_mounted_file_is_written_in_place);
    tcase_add_test(tc, a_bind_mounted_file_in_a_read_only_folder_is_written_in_place);
    tcase_add_test(tc, a_failed_write_in_place_puts_the_old_content_back);
    tcase_add_test(tc, a_read_only_bind_mount_fails_at_the_commit_at_the_latest);
    tcase_add_test(tc, a_file_that_cannot_be_replaced_at_last_leaves_nothing_behind);
    tcase_add_test(tc, a_writable_file_in_a_folder_of_another_is_written_in_place);
    tcase_add_test(tc, a_file_whose_owner_we_cannot_give_is_written_in_place);
    tcase_add_test(tc, a_file_we_may_not_write_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}
