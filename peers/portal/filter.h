// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * Traffic filters of a resource, in three spellings: the policy file (`tcp: [80, 5000-5010]`), a
 * line for the control socket ("tcp:80,443 udp icmp"), and the portal protocol's JSON. An empty
 * list allows everything.
 *
 * Ownership: a list owns its array; filter_list_fini() accepts a zeroed one. Thread-safety: values.
 */

enum filter_protocol {
	FILTER_PROTOCOL_TCP,
	FILTER_PROTOCOL_UDP,
	FILTER_PROTOCOL_ICMP,
};

/** One protocol with one inclusive port range; ICMP has no ports (both 0). */
struct filter {
	enum filter_protocol protocol;
	uint16_t port_first;
	uint16_t port_last;
};

struct filter_list {
	struct filter *items;
	size_t n_items;
};

void filter_list_fini(struct filter_list *list);
void filter_list_add(struct filter_list *list, struct filter filter);
/** Copies the items; @p out is overwritten, not freed. */
void filter_list_copy(struct filter_list *out, const struct filter_list *in);
bool filter_list_eq(const struct filter_list *a, const struct filter_list *b);

/** "tcp", "udp" or "icmp". @return 0, -EINVAL */
[[nodiscard]] int filter_protocol_parse(enum filter_protocol *out, const char *text);
/**
 * "80" or "80-90". @return NULL, or what is wrong with it (constant text)
 */
[[nodiscard]] const char *filter_ports_parse(struct filter *out, const char *text);

/**
 * Parses a line: words of "proto" or "proto:ports[,ports...]", or the word "any" alone.
 * @return NULL, or what is wrong (owned); @p out is then empty
 */
[[nodiscard]] char *filter_list_parse(struct filter_list *out, const char *text);
/** Parses the wire's JSON array. @return NULL, or what is wrong (owned); @p out is then empty */
[[nodiscard]] char *filter_list_from_json(struct filter_list *out, const json_t *json);
/** The wire's JSON array. @return owned */
json_t *filter_list_to_json(const struct filter_list *list);
