// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "kni/sysctl.h"

#include "control/base/err.h"
#include "control/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_AREA "kni.sysctl"

struct setting {
	const char *family; // "ipv4", "ipv6"
	const char *key;
	const char *value;
};

// The kernel's text has a tab where the operator writes a space, and a newline at the end.
static bool is_same(const char *a, const char *b)
{
	for (;; a++, b++) {
		char ca = *a == '\t' ? ' ' : *a, cb = *b == '\t' ? ' ' : *b;

		if (ca == '\n' || ca == '\0')
			return cb == '\n' || cb == '\0';
		if (ca != cb)
			return false;
	}
}

static bool has_value(const char *file, const char *value)
{
	char text[128];
	ssize_t n;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return false;
	text[n] = '\0';
	return is_same(text, value);
}

static int value_write(const char *file, const char *value)
{
	size_t size = strlen(value);
	ssize_t n;
	int err;
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	n = write(fd, value, size);
	err = n < 0 ? errno : EIO;
	close(fd);
	return n == (ssize_t)size ? 0 : -err;
}

int kni_sysctl_set(const char *path, const char *value)
{
	char file[256];
	int n = snprintf(file, sizeof(file), "/proc/sys/%s", path);
	int rc;

	if (n < 0 || (size_t)n >= sizeof(file))
		return err_set(ENAMETOOLONG);
	if (has_value(file, value))
		return 0;
	rc = value_write(file, value);
	if (rc == 0)
		return 0;
	LOG(ERR, "cannot set a sysctl path=%s value=%s error=\"%s\"", path, value, strerror(-rc));
	return err_set(-rc);
}

static int settings_apply(const char *name, const struct setting *settings, size_t n)
{
	char path[128];
	int first = 0;

	// A slash would leave the directory of the device.
	if (strchr(name, '/') != NULL || strlen(name) > 15)
		return err_set(EINVAL);
	for (size_t i = 0; i < n; i++) {
		const struct setting *s = &settings[i];
		int rc;

		snprintf(path, sizeof(path), "net/%s/conf/%s/%s", s->family, name, s->key);
		rc = kni_sysctl_set(path, s->value);
		if (first == 0)
			first = rc;
	}
	return first;
}

int kni_sysctl_tap(const char *name)
{
	static const struct setting settings[] = {
		{"ipv4", "arp_ignore", "1"},
		{"ipv4", "arp_announce", "2"},
		{"ipv6", "disable_ipv6", "0"},
		{"ipv6", "accept_dad", "0"},
		{"ipv6", "accept_ra", "0"},
		{"ipv6", "autoconf", "0"},
	};

	return settings_apply(name, settings, sizeof(settings) / sizeof(settings[0]));
}

int kni_sysctl_tun(const char *name)
{
	static const struct setting settings[] = {
		{"ipv6", "disable_ipv6", "0"},
		{"ipv6", "accept_dad", "0"},
		{"ipv6", "accept_ra", "0"},
		{"ipv6", "autoconf", "0"},
	};

	return settings_apply(name, settings, sizeof(settings) / sizeof(settings[0]));
}
