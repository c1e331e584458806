// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/ident.h"

#include "control/base/alloc.h"
#include "control/base/err.h"

#include <openssl/evp.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// NAMESPACE_URL of RFC 9562 6.6.
static const uint8_t namespace_url[16] = {
	0x6b,
	0xa7,
	0xb8,
	0x11,
	0x9d,
	0xad,
	0x11,
	0xd1,
	0x80,
	0xb4,
	0x00,
	0xc0,
	0x4f,
	0xd4,
	0x30,
	0xc8};

int ident_parse(struct ident *out, const char *text)
{
	struct ident id;

	if (strlen(text) != sizeof(id.text) - 1)
		return err_set(EINVAL);
	for (size_t i = 0; i < sizeof(id.text) - 1; i++) {
		const bool is_hyphen = i == 8 || i == 13 || i == 18 || i == 23;

		if (is_hyphen ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return err_set(EINVAL);
		id.text[i] = (char)tolower((unsigned char)text[i]);
	}
	id.text[sizeof(id.text) - 1] = '\0';
	*out = id;
	return 0;
}

bool ident_eq(const struct ident *a, const struct ident *b)
{
	return strcmp(a->text, b->text) == 0;
}

bool ident_is_set(const struct ident *id)
{
	return id->text[0] != '\0';
}

static struct ident ident_from_bytes(uint8_t b[16], unsigned version)
{
	struct ident id;
	char *p = id.text;

	b[6] = (uint8_t)((b[6] & 0x0f) | version << 4);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	for (size_t i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		snprintf(p, 3, "%02x", b[i]);
		p += 2;
	}
	return id;
}

static void uuid5(uint8_t out[20], const uint8_t space[16], const char *name)
{
	const size_t name_size = strlen(name);
	uint8_t *in = alloc_zero(1, 16 + name_size);

	memcpy(in, space, 16);
	memcpy(in + 16, name, name_size);
	if (EVP_Q_digest(NULL, "SHA1", NULL, in, 16 + name_size, out, NULL) != 1)
		abort();
	free(in);
	out[6] = (uint8_t)((out[6] & 0x0f) | 0x50);
	out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

struct ident ident_derive(const char *account, const char *kind, const char *name)
{
	char *space_name = alloc_format("sallyport:%s", account);
	char *full_name = alloc_format("%s:%s", kind, name);
	uint8_t space[20];
	uint8_t id[20];

	uuid5(space, namespace_url, space_name);
	uuid5(id, space, full_name);
	free(space_name);
	free(full_name);
	return ident_from_bytes(id, 5);
}

struct ident ident_random(random_fn random)
{
	uint8_t b[16];

	random(b, sizeof(b));
	return ident_from_bytes(b, 4);
}
