// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/**
 * A bounds-checked reader and writer over a byte buffer with a sticky error: the first access
 * beyond the end sets is_bad, reads then give zero and writes do nothing, so a parser checks once
 * at its end instead of at every field. Integers are big endian unless the name says le.
 *
 * Ownership: borrows the buffer. Thread-safety: none needed, a cursor is a local value.
 */
struct cursor {
	uint8_t *data;
	size_t size; // bytes
	size_t pos; // never beyond size
	bool is_bad;
};

/** Reads @p size bytes at @p data; the cursor never writes through it when only read calls are used. */
static inline struct cursor cursor_reader(const void *data, size_t size)
{
	return (struct cursor){.data = (uint8_t *)(uintptr_t)data, .size = size};
}

/** Writes into @p size bytes at @p data. */
static inline struct cursor cursor_writer(void *data, size_t size)
{
	return (struct cursor){.data = data, .size = size};
}

/** Bytes not yet read or written. */
static inline size_t cursor_left(const struct cursor *c)
{
	return c->is_bad ? 0 : c->size - c->pos;
}

/** Advances over @p n bytes and returns where they start, or NULL after setting the error. */
static inline uint8_t *cursor_take(struct cursor *c, size_t n)
{
	uint8_t *p;

	if (c->is_bad || n > c->size - c->pos) {
		c->is_bad = true;
		return NULL;
	}
	p = c->data + c->pos;
	c->pos += n;
	return p;
}

static inline uint8_t cursor_read_u8(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 1);

	return p != NULL ? p[0] : 0;
}

static inline uint16_t cursor_read_u16(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 2);

	return p != NULL ? (uint16_t)((unsigned)p[0] << 8 | p[1]) : 0;
}

static inline uint32_t cursor_read_u32(struct cursor *c)
{
	uint32_t hi = cursor_read_u16(c);

	return hi << 16 | cursor_read_u16(c);
}

static inline uint64_t cursor_read_u64(struct cursor *c)
{
	uint64_t hi = cursor_read_u32(c);

	return hi << 32 | cursor_read_u32(c);
}

/** Copies @p n bytes to @p out, or zeroes @p out when they are not there. */
static inline void cursor_read(struct cursor *c, void *out, size_t n)
{
	const uint8_t *p = cursor_take(c, n);

	if (p != NULL)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}

static inline void cursor_write(struct cursor *c, const void *in, size_t n)
{
	uint8_t *p = cursor_take(c, n);

	if (p != NULL)
		memcpy(p, in, n);
}

static inline void cursor_write_u8(struct cursor *c, uint8_t v)
{
	cursor_write(c, &v, 1);
}

static inline void cursor_write_u16(struct cursor *c, uint16_t v)
{
	const uint8_t b[2] = {(uint8_t)(v >> 8), (uint8_t)v};

	cursor_write(c, b, sizeof(b));
}

static inline void cursor_write_u32(struct cursor *c, uint32_t v)
{
	cursor_write_u16(c, (uint16_t)(v >> 16));
	cursor_write_u16(c, (uint16_t)v);
}

static inline void cursor_write_u64(struct cursor *c, uint64_t v)
{
	cursor_write_u32(c, (uint32_t)(v >> 32));
	cursor_write_u32(c, (uint32_t)v);
}
