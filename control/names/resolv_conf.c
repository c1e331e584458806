// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/names/resolv_conf.h"

#include <string.h>

#define BLANKS " \t\r\n"

static const char keyword[] = "nameserver";

// The address of one line.
static bool line_parse(struct ip_addr *out, const char *line, size_t size)
{
	char text[IP_TEXT_SIZE] = "", *word;
	size_t len;

	if (size <= strlen(keyword) || memcmp(line, keyword, strlen(keyword)) != 0)
		return false;
	len = size - strlen(keyword);
	// What does not fit is behind any address.
	if (len >= sizeof(text))
		len = sizeof(text) - 1;
	memcpy(text, line + strlen(keyword), len);
	if (strchr(BLANKS, text[0]) == NULL)
		return false;
	word = text + strspn(text, BLANKS);
	word[strcspn(word, BLANKS "#;")] = '\0';
	return ip_addr_parse(out, word) == 0;
}

static bool is_listed(const struct ip_addr *list, size_t n, const struct ip_addr *addr)
{
	for (size_t i = 0; i < n; i++) {
		if (ip_addr_eq(&list[i], addr))
			return true;
	}
	return false;
}

size_t
resolv_conf_parse(struct ip_addr out[RESOLV_CONF_NAMESERVERS_MAX], const char *text, size_t size)
{
	const char *end = text + size;
	size_t n = 0;

	while (text < end && n < RESOLV_CONF_NAMESERVERS_MAX) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *next = newline != NULL ? newline + 1 : end;
		struct ip_addr addr;

		if (line_parse(&addr, text, (size_t)(next - text)) && !is_listed(out, n, &addr))
			out[n++] = addr;
		text = next;
	}
	return n;
}
