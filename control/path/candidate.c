// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/candidate.h"

#include "control/base/err.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define WORD_SIZE 80 // longest word we look into: an IPv6 address, a foundation, a ufrag

static const char *const kind_names[ICE_KIND_COUNT] = {
	[ICE_KIND_HOST] = "host",
	[ICE_KIND_PRFLX] = "prflx",
	[ICE_KIND_SRFLX] = "srflx",
	[ICE_KIND_RELAY] = "relay",
};

// Peers rank pairs by the same numbers; relay is 2, not the 0 of RFC 8445.
static const uint8_t type_preferences[ICE_KIND_COUNT] = {
	[ICE_KIND_HOST] = 126,
	[ICE_KIND_PRFLX] = 110,
	[ICE_KIND_SRFLX] = 100,
	[ICE_KIND_RELAY] = 2,
};

static const uint16_t local_preference_starts[ICE_KIND_COUNT] = {
	[ICE_KIND_HOST] = 65535,
	[ICE_KIND_PRFLX] = 49151,
	[ICE_KIND_SRFLX] = 32767,
	[ICE_KIND_RELAY] = 16383,
};

#define CROSS_FAMILY_PENALTY 1000

const char *ice_kind_name(enum ice_kind kind)
{
	return kind < ICE_KIND_COUNT ? kind_names[kind] : "?";
}

uint16_t
ice_local_preference(enum ice_kind kind, enum ip_family family, unsigned nth, bool is_cross_family)
{
	unsigned start = local_preference_starts[kind];
	unsigned penalty = family == IP_FAMILY_V4 ? 1 : 0;

	penalty += 2 * (nth < INT16_MAX ? nth : INT16_MAX);
	if (kind == ICE_KIND_RELAY && is_cross_family)
		penalty += CROSS_FAMILY_PENALTY;
	return (uint16_t)(start > penalty ? start - penalty : 0);
}

uint32_t ice_priority(enum ice_kind kind, uint16_t local_preference)
{
	return (uint32_t)type_preferences[kind] << 24 | (uint32_t)local_preference << 8 | 255;
}

uint32_t ice_priority_prflx(uint32_t priority)
{
	return (priority & 0x00ffffff) | (uint32_t)type_preferences[ICE_KIND_PRFLX] << 24;
}

uint64_t ice_pair_priority(uint32_t controlling, uint32_t controlled)
{
	uint64_t min = controlling < controlled ? controlling : controlled;
	uint64_t max = controlling < controlled ? controlled : controlling;

	return (min << 32) + 2 * max + (controlling > controlled ? 1 : 0);
}

// FNV-1a: the foundation only has to differ between kinds and bases.
static uint64_t foundation_hash(const struct ice_candidate *c)
{
	uint64_t hash = 0xcbf29ce484222325;
	size_t size = ip_addr_size(&c->base.addr);

	hash = (hash ^ (uint64_t)c->kind) * 0x100000001b3;
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ c->base.addr.bytes[i]) * 0x100000001b3;
	return hash;
}

void ice_candidate_complete(struct ice_candidate *c, unsigned nth, bool is_cross_family)
{
	uint16_t preference;

	if (c->kind == ICE_KIND_HOST || c->kind == ICE_KIND_RELAY)
		c->base = c->addr;
	preference = ice_local_preference(
		c->kind, (enum ip_family)c->addr.addr.family, nth, is_cross_family);
	c->priority = ice_priority(c->kind, preference);
	snprintf(
		c->foundation,
		sizeof(c->foundation),
		"%08x%016llx",
		__builtin_bswap32(c->priority),
		(unsigned long long)foundation_hash(c));
}

bool ice_candidate_is_usable(const struct ip_endpoint *ep)
{
	static const uint8_t zeros[16];
	const uint8_t *b = ep->addr.bytes;

	if (ep->port == 0)
		return false;
	if (ep->addr.family == IP_FAMILY_V4) {
		bool is_link_local = b[0] == 169 && b[1] == 254;
		bool is_broadcast = b[0] == 255 && b[1] == 255 && b[2] == 255 && b[3] == 255;
		bool is_multicast = (b[0] & 0xf0) == 0xe0;

		return memcmp(b, zeros, 4) != 0 && !is_link_local && !is_broadcast && !is_multicast;
	}
	return ep->addr.family == IP_FAMILY_V6 && memcmp(b, zeros, 16) != 0 && b[0] != 0xff;
}

// Takes the next word of the text; false at the end or when it does not fit.
static bool word_next(const char **text, char word[WORD_SIZE])
{
	size_t len;

	*text += strspn(*text, " \t\r\n");
	len = strcspn(*text, " \t\r\n");
	if (len == 0 || len >= WORD_SIZE)
		return false;
	memcpy(word, *text, len);
	word[len] = '\0';
	*text += len;
	return true;
}

static bool number_parse(const char *word, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (word[0] == '\0')
		return false;
	for (; *word != '\0'; word++) {
		if (*word < '0' || *word > '9')
			return false;
		value = value * 10 + (uint64_t)(*word - '0');
		if (value > max)
			return false;
	}
	*out = value;
	return true;
}

static bool number_next(const char **text, uint64_t max, uint64_t *out)
{
	char word[WORD_SIZE];

	return word_next(text, word) && number_parse(word, max, out);
}

static bool endpoint_next(const char **text, const char *infix, struct ip_endpoint *out)
{
	char word[WORD_SIZE];
	uint64_t port;

	if (!word_next(text, word) || ip_addr_parse(&out->addr, word) < 0)
		return false;
	if (infix != NULL && (!word_next(text, word) || strcasecmp(word, infix) != 0))
		return false;
	if (!number_next(text, UINT16_MAX, &port))
		return false;
	out->port = (uint16_t)port;
	return true;
}

static bool kind_next(const char **text, enum ice_kind *out)
{
	char word[WORD_SIZE];

	if (!word_next(text, word) || strcasecmp(word, "typ") != 0 || !word_next(text, word))
		return false;
	for (unsigned i = 0; i < ICE_KIND_COUNT; i++) {
		if (strcasecmp(word, kind_names[i]) == 0) {
			*out = (enum ice_kind)i;
			return true;
		}
	}
	return false;
}

// What follows the kind: raddr and rport, ufrag, and pairs of words that we do not know.
static int extensions_parse(struct ice_candidate *c, const char *text, const char *ufrag)
{
	char key[WORD_SIZE], value[WORD_SIZE];

	while (text[strspn(text, " \t\r\n")] != '\0') {
		if (!word_next(&text, key))
			return err_set(EINVAL);
		if (strcasecmp(key, "raddr") == 0) {
			if (!endpoint_next(&text, "rport", &c->related))
				return err_set(EINVAL);
			continue;
		}
		if (!word_next(&text, value))
			return err_set(EINVAL);
		if (strcasecmp(key, "ufrag") == 0 && ufrag != NULL && strcmp(value, ufrag) != 0)
			return err_set(EKEYREJECTED);
	}
	return 0;
}

int ice_candidate_parse(struct ice_candidate *out, const char *text, const char *ufrag)
{
	static const char prefix[] = "candidate:";
	struct ice_candidate c = {0};
	uint64_t component, priority;
	char word[WORD_SIZE];
	bool is_udp;
	int rc;

	if (!word_next(&text, word) || strncmp(word, prefix, strlen(prefix)) != 0)
		return err_set(EINVAL);
	if (strlen(word) == strlen(prefix) || strlen(word) - strlen(prefix) >= ICE_FOUNDATION_SIZE)
		return err_set(EINVAL);
	memcpy(c.foundation, word + strlen(prefix), strlen(word) - strlen(prefix));
	if (!number_next(&text, UINT32_MAX, &component) || !word_next(&text, word))
		return err_set(EINVAL);
	is_udp = strcasecmp(word, "udp") == 0;
	if (!number_next(&text, UINT32_MAX, &priority) || !endpoint_next(&text, NULL, &c.addr)
	    || !kind_next(&text, &c.kind))
		return err_set(EINVAL);
	rc = extensions_parse(&c, text, ufrag);
	if (rc < 0)
		return rc;
	if (!is_udp)
		return err_set(EPROTONOSUPPORT);
	if (component != 1)
		return err_set(EOPNOTSUPP);
	if (!ice_candidate_is_usable(&c.addr))
		return err_set(EADDRNOTAVAIL);
	c.priority = (uint32_t)priority;
	c.base = c.addr;
	*out = c;
	return 0;
}

int ice_candidate_format(
	const struct ice_candidate *c,
	const char *ufrag,
	char buf[ICE_CANDIDATE_TEXT_SIZE])
{
	bool is_v4 = c->addr.addr.family == IP_FAMILY_V4;
	const char *related = "";
	char ip[IP_TEXT_SIZE];
	int len;

	if (ip_addr_size(&c->addr.addr) == 0 || c->foundation[0] == '\0'
	    || strlen(ufrag) > ICE_UFRAG_LEN_MAX)
		return err_set(EINVAL);
	// The real base is nobody's business; the strictest parsers want the words there all the same.
	if (c->kind != ICE_KIND_HOST)
		related = is_v4 ? " raddr 0.0.0.0 rport 0" : " raddr :: rport 0";
	len = snprintf(
		buf,
		ICE_CANDIDATE_TEXT_SIZE,
		"candidate:%s 1 udp %u %s %u typ %s%s%s%s",
		c->foundation,
		c->priority,
		ip_addr_format(&c->addr.addr, ip),
		c->addr.port,
		ice_kind_name(c->kind),
		related,
		ufrag[0] != '\0' ? " ufrag " : "",
		ufrag);
	return len > 0 && len < ICE_CANDIDATE_TEXT_SIZE ? len : err_set(EINVAL);
}
