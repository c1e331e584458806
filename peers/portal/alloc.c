// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *alloc_check(void *p)
{
	if (p == NULL) {
		fputs("sallyport-portal: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *alloc_zero(size_t n, size_t size)
{
	return alloc_check(calloc(n != 0 ? n : 1, size));
}

void *alloc_resize(void *array, size_t n, size_t size)
{
	return alloc_check(reallocarray(array, n != 0 ? n : 1, size));
}

void *alloc_grow(void *array, size_t n, size_t size)
{
	char *grown = alloc_resize(array, n + 1, size);

	memset(grown + n * size, 0, size);
	return grown;
}

char *alloc_text(const char *text)
{
	return text != NULL ? alloc_check(strdup(text)) : NULL;
}

char *alloc_format(const char *fmt, ...)
{
	va_list args;
	char *text = NULL;
	int n;

	va_start(args, fmt);
	n = vasprintf(&text, fmt, args);
	va_end(args);
	return alloc_check(n < 0 ? NULL : text);
}
