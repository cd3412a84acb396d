/* Writing files: whole or not at all, and nothing beside them. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"

static char folder[] = "/tmp/spotgrad-file-XXXXXX";
static char path[64];

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    return rmdir(folder);
}

static int names(void) {
    DIR *dir = opendir(folder);
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir)) n++;
    closedir(dir);
    return n - 2; /* . and .. */
}

static void expect_content(const void *data, size_t size) {
    uint8_t *got;
    size_t n;

    assert_int_equal(sg_file_read(path, 0, &got, &n), SG_OK);
    assert_int_equal(n, size);
    assert_memory_equal(got, data, size);
    sg_free(got);
}

static void test_write(void **state) {
    char name[256], longest[512];
    struct stat info;
    mode_t mask = umask(022);

    (void)state;
    assert_int_equal(sg_file_write(path, "first", 5), SG_OK);
    expect_content("first", 5);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0644);
    assert_int_equal(sg_file_write(path, "the second", 10), SG_OK);
    expect_content("the second", 10);
    assert_int_equal(sg_file_write(path, "", 0), SG_OK);
    expect_content("", 0);
    assert_int_equal(names(), 1);
    memset(name, 'a', sizeof name); /* the longest that there is, under which it is written twice */
    snprintf(longest, sizeof longest, "%s/%.255s", folder, name);
    for (int i = 0; i < 2; i++)
        if (sg_file_write(longest, "x", 1) != SG_OK) fail_msg("%s", sg_last_error());
    assert_int_equal(names(), 2);
    assert_int_equal(unlink(longest), 0);
    assert_int_equal(unlink(path), 0);
    umask(mask);
}

static void refused(sg_status st, const char *text) {
    assert_int_equal(st, SG_ERR_IO);
    assert_string_equal(sg_last_error(), text);
}

static void test_refusals(void **state) {
    char other[96], text[512], longest[256];
    uint8_t *data;
    size_t size;

    (void)state;
    snprintf(other, sizeof other, "%s/none/file", folder);
    snprintf(text, sizeof text, "%s: cannot create: No such file or directory", other);
    refused(sg_file_write(other, "x", 1), text);
    refused(sg_file_try_write(other), text);
    assert_int_equal(sg_file_try_write(path), SG_OK);
    assert_int_equal(names(), 0);
    memset(longest, 'a', sizeof longest);
    snprintf(text, sizeof text, "%s/%.255s", folder, longest);
    assert_int_equal(sg_file_try_write(text), SG_OK);
    snprintf(text, sizeof text, "%s/%.256s", folder, longest);
    assert_int_equal(sg_file_try_write(text), SG_ERR_IO);
    assert_non_null(strstr(sg_last_error(), ": cannot create: File name too long"));
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(sg_file_write(path, "x", 1), SG_ERR_IO); /* a folder is not replaced */
    assert_int_equal(names(), 1);
    snprintf(text, sizeof text, "%s: is a folder, not a file", path); /* and no disk to wait for */
    assert_int_equal(sg_file_read(path, 0, &data, &size), SG_ERR_DATA);
    assert_string_equal(sg_last_error(), text);
    assert_int_equal(sg_file_check(path), SG_ERR_DATA);
    assert_string_equal(sg_last_error(), text);
    assert_int_equal(sg_file_check("/dev/null"), SG_ERR_DATA);
    assert_string_equal(sg_last_error(), "/dev/null: is a pipe or a device, not a file");
    assert_int_equal(rmdir(path), 0);
}

/* --- a system that takes little at a time --- */

static size_t most_at_once, written_at_all; /* 0: as much as it likes */

/* In place of the C library's. */
ssize_t write(int fd, const void *data, size_t bytes) {
    ssize_t put;

    if (most_at_once > 0 && bytes > most_at_once) bytes = most_at_once;
    put = syscall(SYS_write, fd, data, bytes);
    if (put > 0) written_at_all += (size_t)put;
    return put;
}

/* Linux takes less than 2 GiB: what is larger is written once all the same. */
static void test_in_parts(void **state) {
    enum { kPage = 4096, kPages = 16, kBytes = kPages * kPage - 100 };
    uint8_t *block = sg_calloc(kPages + 1, kPage), *data;

    (void)state;
    assert_non_null(block);
    data = block + (kPage - (uintptr_t)block % kPage) % kPage;
    for (int i = 0; i < kBytes; i++) data[i] = (uint8_t)(i % 251);
    most_at_once = 3 * kPage;
    written_at_all = 0;
    assert_int_equal(sg_file_write_pages(path, data, kBytes), SG_OK);
    most_at_once = 0;
    assert_in_range(written_at_all, kBytes, kPages * kPage);
    expect_content(data, kBytes);
    assert_int_equal(unlink(path), 0);
    sg_free(block);
}

/* The process is killed at any time: a new file is there, whole, or nothing is. */
static void test_killed(void **state) {
    enum { kBytes = 1 << 22, kTimes = 60, kMicroseconds = 200 };
    uint8_t *data = sg_calloc(kBytes, 1);
    int fd = open(folder, O_WRONLY | O_TMPFILE, 0600), killed = 0;

    (void)state;
    assert_non_null(data);
    if (fd < 0) {
        sg_free(data);
        skip(); /* a file system that always gives names */
    }
    close(fd);
    memset(data, 'x', kBytes);
    for (int i = 0; i < kTimes; i++) {
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0) _exit(sg_file_write(path, data, kBytes) == SG_OK ? 0 : 1);
        usleep((useconds_t)(i * kMicroseconds));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        killed += WIFSIGNALED(status);
        if (names() == 0) continue;
        assert_int_equal(names(), 1);
        expect_content(data, kBytes);
        assert_int_equal(unlink(path), 0);
    }
    assert_true(killed > 0);
    sg_free(data);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_in_parts),
        cmocka_unit_test(test_killed),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
