// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/portal/uuid.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool is_hyphen_position(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

int uuid_parse(struct uuid *out, const char *text)
{
	struct uuid u = {0};
	size_t nibble = 0;

	if (text == NULL || strlen(text) != UUID_TEXT_SIZE - 1)
		return -EINVAL;
	for (size_t i = 0; i < UUID_TEXT_SIZE - 1; i++) {
		int v;

		if (is_hyphen_position(i)) {
			if (text[i] != '-')
				return -EINVAL;
			continue;
		}
		v = hex_value(text[i]);
		if (v < 0)
			return -EINVAL;
		u.bytes[nibble / 2] |= (uint8_t)(nibble % 2 == 0 ? v << 4 : v);
		nibble++;
	}
	*out = u;
	return 0;
}

char *uuid_format(const struct uuid *u, char buf[UUID_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	size_t nibble = 0;

	for (size_t i = 0; i < UUID_TEXT_SIZE - 1; i++) {
		uint8_t byte = u->bytes[nibble / 2];

		if (is_hyphen_position(i)) {
			buf[i] = '-';
			continue;
		}
		buf[i] = digits[nibble % 2 == 0 ? byte >> 4 : byte & 15];
		nibble++;
	}
	buf[UUID_TEXT_SIZE - 1] = '\0';
	return buf;
}

bool uuid_eq(const struct uuid *a, const struct uuid *b)
{
	return uuid_cmp(a, b) == 0;
}

int uuid_cmp(const struct uuid *a, const struct uuid *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static bool is_hyphenated(const char *text, size_t len)
{
	char buf[UUID_TEXT_SIZE];
	struct uuid u;

	if (len != UUID_TEXT_SIZE - 1)
		return false;
	memcpy(buf, text, len);
	buf[len] = '\0';
	return uuid_parse(&u, buf) == 0;
}

static bool is_32_digits(const char *text, size_t len)
{
	if (len != 32)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (hex_value(text[i]) < 0)
			return false;
	}
	return true;
}

bool uuid_is_any_form(const char *text)
{
	static const char urn[] = "urn:uuid:";
	size_t len = strlen(text);

	if (len > 2 && text[0] == '{' && text[len - 1] == '}') {
		// Braces go with the hyphenated form only.
		return is_hyphenated(text + 1, len - 2);
	}
	if (strncmp(text, urn, sizeof(urn) - 1) == 0)
		return is_hyphenated(text + sizeof(urn) - 1, len - (sizeof(urn) - 1));
	return is_hyphenated(text, len) || is_32_digits(text, len);
}

struct uuid uuid_v4(const uint8_t random[16])
{
	struct uuid u;

	memcpy(u.bytes, random, sizeof(u.bytes));
	// RFC 9562 section 5.4: version and variant bits.
	u.bytes[6] = (uint8_t)((u.bytes[6] & 0x0f) | 0x40);
	u.bytes[8] = (uint8_t)((u.bytes[8] & 0x3f) | 0x80);
	return u;
}
