// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "control/path/stun.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <sodium.h>

#include <stdlib.h>
#include <string.h>

#define ATTR_HEADER_SIZE 4
#define INTEGRITY_ATTR_SIZE (ATTR_HEADER_SIZE + STUN_INTEGRITY_SIZE)
#define FINGERPRINT_ATTR_SIZE (ATTR_HEADER_SIZE + 4)
#define FINGERPRINT_XOR 0x5354554eu

struct stun_mac {
	EVP_MAC_CTX *ctx;
};

struct stun_mac *stun_mac_create(void)
{
	char digest[] = "SHA1";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	struct stun_mac *mac = calloc(1, sizeof(*mac));
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	if (mac == NULL || hmac == NULL)
		goto err;
	mac->ctx = EVP_MAC_CTX_new(hmac);
	if (mac->ctx == NULL || EVP_MAC_CTX_set_params(mac->ctx, params) != 1)
		goto err;
	EVP_MAC_free(hmac);
	return mac;
err:
	EVP_MAC_free(hmac);
	stun_mac_destroy(mac);
	return err_set_null(ENOMEM);
}

void stun_mac_destroy(struct stun_mac *mac)
{
	if (mac == NULL)
		return;
	EVP_MAC_CTX_free(mac->ctx);
	free(mac);
}

// HMAC over the first `size` bytes as if MESSAGE-INTEGRITY, which follows them, ended the message
// (RFC 8489 14.5).
static bool integrity_compute(
	struct stun_mac *mac,
	const uint8_t *msg,
	size_t size,
	const void *key,
	size_t key_size,
	uint8_t out[STUN_INTEGRITY_SIZE])
{
	uint8_t header[STUN_HEADER_SIZE];
	size_t length = size - STUN_HEADER_SIZE + INTEGRITY_ATTR_SIZE;
	size_t out_size;

	memcpy(header, msg, sizeof(header));
	header[2] = (uint8_t)(length >> 8);
	header[3] = (uint8_t)length;
	return EVP_MAC_init(mac->ctx, key, key_size, NULL) == 1
		&& EVP_MAC_update(mac->ctx, header, sizeof(header)) == 1
		&& EVP_MAC_update(mac->ctx, msg + sizeof(header), size - sizeof(header)) == 1
		&& EVP_MAC_final(mac->ctx, out, &out_size, STUN_INTEGRITY_SIZE) == 1
		&& out_size == STUN_INTEGRITY_SIZE;
}

bool stun_msg_verify(
	struct stun_mac *mac,
	const struct stun_msg *msg,
	const void *key,
	size_t key_size)
{
	uint8_t want[STUN_INTEGRITY_SIZE];
	const uint8_t *got;
	bool is_right;

	if ((msg->has & STUN_HAS_INTEGRITY) == 0)
		return false;
	got = msg->data + msg->integrity_pos + ATTR_HEADER_SIZE;
	is_right = integrity_compute(mac, msg->data, msg->integrity_pos, key, key_size, want)
		&& sodium_memcmp(want, got, sizeof(want)) == 0;
	sodium_memzero(want, sizeof(want));
	return is_right;
}

void stun_writer_add_integrity(
	struct stun_writer *w,
	struct stun_mac *mac,
	const void *key,
	size_t key_size)
{
	uint8_t digest[STUN_INTEGRITY_SIZE];

	if (w->cur.is_bad)
		return;
	if (!integrity_compute(mac, w->cur.data, w->cur.pos, key, key_size, digest)) {
		w->cur.is_bad = true;
		return;
	}
	stun_writer_add(w, STUN_ATTR_MESSAGE_INTEGRITY, digest, sizeof(digest));
}

// CRC-32 of ISO 3309 (RFC 8489 14.7), reflected polynomial 0xedb88320, four bits at a time: the
// messages are about a hundred bytes.
static uint32_t crc32_compute(const uint8_t *data, size_t size)
{
	static const uint32_t table[16] = {
		0x00000000,
		0x1db71064,
		0x3b6e20c8,
		0x26d930ac,
		0x76dc4190,
		0x6b6b51f4,
		0x4db26158,
		0x5005713c,
		0xedb88320,
		0xf00f9344,
		0xd6d6a3e8,
		0xcb61b38c,
		0x9b64c2b0,
		0x86d3d2d4,
		0xa00ae278,
		0xbdbdf21c,
	};
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < size; i++) {
		crc ^= data[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

bool stun_msg_verify_fingerprint(const struct stun_msg *msg)
{
	struct cursor c = cursor_reader(msg->data, msg->size);

	if ((msg->has & STUN_HAS_FINGERPRINT) == 0
	    || msg->fingerprint_pos + FINGERPRINT_ATTR_SIZE != msg->size)
		return false;
	cursor_take(&c, msg->fingerprint_pos + ATTR_HEADER_SIZE);
	return cursor_read_u32(&c)
		== (crc32_compute(msg->data, msg->fingerprint_pos) ^ FINGERPRINT_XOR);
}

void stun_writer_add_fingerprint(struct stun_writer *w)
{
	size_t pos = w->cur.pos;
	struct cursor c;

	// The length field must already count this attribute when the CRC is taken.
	stun_writer_add_u32(w, STUN_ATTR_FINGERPRINT, 0);
	if (w->cur.is_bad)
		return;
	c = cursor_writer(w->cur.data, w->cur.size);
	cursor_take(&c, pos + ATTR_HEADER_SIZE);
	cursor_write_u32(&c, crc32_compute(w->cur.data, pos) ^ FINGERPRINT_XOR);
}

int stun_long_term_key(
	uint8_t out[STUN_LONG_TERM_KEY_SIZE],
	const char *username,
	const char *realm,
	const char *password)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool is_ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1
		&& EVP_DigestUpdate(ctx, username, strlen(username)) == 1
		&& EVP_DigestUpdate(ctx, ":", 1) == 1
		&& EVP_DigestUpdate(ctx, realm, strlen(realm)) == 1
		&& EVP_DigestUpdate(ctx, ":", 1) == 1
		&& EVP_DigestUpdate(ctx, password, strlen(password)) == 1
		&& EVP_DigestFinal_ex(ctx, out, NULL) == 1;

	EVP_MD_CTX_free(ctx);
	return is_ok ? 0 : err_set(ENOMEM);
}
