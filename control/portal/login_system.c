// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/login.h"

#include <jansson.h>
#include <sodium.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

// Application key under which the machine id is turned into an id for the portal.
static const char machine_id_key[] = "753b38f9f96947ef8083802d5909a372";

int login_external_id_configured(char out[LOGIN_ID_SIZE], const char *id)
{
	uint8_t hash[crypto_hash_sha256_BYTES];
	size_t len = strlen(id);

	if (len == 0 || len >= LOGIN_ID_SIZE)
		return -EINVAL;
	if (uuid_is_any_form(id)) {
		crypto_hash_sha256(hash, (const unsigned char *)id, len);
		sodium_bin2hex(out, LOGIN_ID_SIZE, hash, sizeof(hash));
	} else {
		memcpy(out, id, len + 1);
	}
	return 0;
}

void login_external_id_machine(char out[LOGIN_ID_SIZE], const void *contents, size_t size)
{
	crypto_auth_hmacsha256_state state;
	uint8_t mac[crypto_auth_hmacsha256_BYTES];

	crypto_auth_hmacsha256_init(
		&state, (const unsigned char *)machine_id_key, sizeof(machine_id_key) - 1);
	crypto_auth_hmacsha256_update(&state, contents, size);
	crypto_auth_hmacsha256_final(&state, mac);
	sodium_bin2hex(out, LOGIN_ID_SIZE, mac, sizeof(mac));
	sodium_memzero(&state, sizeof(state));
}

int login_external_id_stored(char out[LOGIN_ID_SIZE], const char *text, size_t size)
{
	json_error_t error;
	json_t *root = json_loadb(text, size, 0, &error);
	const char *id = json_string_value(json_object_get(root, "id"));
	int rc = id != NULL ? login_external_id_configured(out, id) : -EINVAL;

	json_decref(root);
	return rc;
}

// Reads at most size bytes. Returns how many, or -errno.
static ssize_t file_read(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size);
	if (n < 0)
		n = -errno;
	close(fd);
	return n;
}

static int parent_make(const char *path)
{
	char dir[512];
	char *slash;

	if (strlen(path) >= sizeof(dir))
		return -ENAMETOOLONG;
	strcpy(dir, path);
	slash = strrchr(dir, '/');
	if (slash == NULL || slash == dir)
		return 0;
	*slash = '\0';
	return mkdir(dir, 0770) == 0 || errno == EEXIST ? 0 : -errno;
}

static int state_write(const char *path, const char *id)
{
	int rc = parent_make(path);
	int fd;

	if (rc != 0)
		return rc;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	if (dprintf(fd, "{\"id\":\"%s\"}", id) < 0)
		rc = -EIO;
	if (close(fd) != 0 && rc == 0)
		rc = -errno;
	return rc;
}

static int random_make(char out[LOGIN_ID_SIZE], const char *state_path)
{
	uint8_t hash[crypto_hash_sha256_BYTES];
	uint8_t random[16];
	char text[UUID_TEXT_SIZE];
	struct uuid u;

	randombytes_buf(random, sizeof(random));
	u = uuid_v4(random);
	uuid_format(&u, text);
	crypto_hash_sha256(hash, (const unsigned char *)text, UUID_TEXT_SIZE - 1);
	sodium_bin2hex(out, LOGIN_ID_SIZE, hash, sizeof(hash));
	return state_write(state_path, out);
}

int login_external_id_resolve(
	char out[LOGIN_ID_SIZE],
	const char *configured,
	const char *state_path,
	const char *machine_id_path)
{
	char buf[4096];
	ssize_t n;

	if (configured != NULL && configured[0] != '\0')
		return login_external_id_configured(out, configured);
	n = file_read(state_path, buf, sizeof(buf));
	if (n > 0 && login_external_id_stored(out, buf, (size_t)n) == 0)
		return 0;
	n = file_read(machine_id_path, buf, sizeof(buf));
	if (n > 0) {
		login_external_id_machine(out, buf, (size_t)n);
		return 0;
	}
	return random_make(out, state_path);
}

// Finds KEY=value or KEY="value" at the start of a line.
static bool os_release_get(const char *text, const char *key, char *out, size_t size)
{
	size_t key_len = strlen(key);
	const char *line = text;

	while (line != NULL) {
		if (strncmp(line, key, key_len) == 0 && line[key_len] == '=') {
			const char *value = line + key_len + 1;
			size_t len;

			value += strspn(value, "\"'");
			len = strcspn(value, "\"'\n");
			if (len == 0 || len >= size)
				return false;
			memcpy(out, value, len);
			out[len] = '\0';
			return true;
		}
		line = strchr(line, '\n');
		if (line != NULL)
			line++;
	}
	return false;
}

void login_system_parse_os_release(struct login_system *out, const char *text)
{
	char version[sizeof(out->os_version) - sizeof(".0.0")];

	out->os_name[0] = '\0';
	out->os_version[0] = '\0';
	// The short id, not the name: names may hold spaces and slashes, which split the user agent.
	if (os_release_get(text, "ID", out->os_name, sizeof(out->os_name)))
		out->os_name[0] = (char)toupper((unsigned char)out->os_name[0]);
	if (os_release_get(text, "VERSION_ID", version, sizeof(version))) {
		const char *dot = strchr(version, '.');
		bool has_three = dot != NULL && strchr(dot + 1, '.') != NULL;

		snprintf(
			out->os_version,
			sizeof(out->os_version),
			"%s%s",
			version,
			has_three ? "" : (dot != NULL ? ".0" : ".0.0"));
	}
}

void login_system_read(struct login_system *out)
{
	struct utsname name;
	char buf[4096];
	ssize_t n = file_read("/etc/os-release", buf, sizeof(buf) - 1);

	*out = (struct login_system){0};
	if (n > 0) {
		buf[n] = '\0';
		login_system_parse_os_release(out, buf);
	}
	if (uname(&name) == 0) {
		snprintf(out->machine, sizeof(out->machine), "%s", name.machine);
		snprintf(out->kernel, sizeof(out->kernel), "%s", name.release);
	}
}
