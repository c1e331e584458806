// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/filter.h"

#include "control/base/alloc.h"
#include "control/base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORT_MAX 65535

static const char *const protocol_names[] = {
	[FILTER_PROTOCOL_TCP] = "tcp",
	[FILTER_PROTOCOL_UDP] = "udp",
	[FILTER_PROTOCOL_ICMP] = "icmp",
};

void filter_list_fini(struct filter_list *list)
{
	free(list->items);
	*list = (struct filter_list){};
}

void filter_list_add(struct filter_list *list, struct filter filter)
{
	list->items = alloc_resize(list->items, list->n_items + 1, sizeof(filter));
	list->items[list->n_items++] = filter;
}

void filter_list_copy(struct filter_list *out, const struct filter_list *in)
{
	*out = (struct filter_list){};
	for (size_t i = 0; i < in->n_items; i++)
		filter_list_add(out, in->items[i]);
}

bool filter_list_eq(const struct filter_list *a, const struct filter_list *b)
{
	if (a->n_items != b->n_items)
		return false;
	for (size_t i = 0; i < a->n_items; i++) {
		if (a->items[i].protocol != b->items[i].protocol
		    || a->items[i].port_first != b->items[i].port_first
		    || a->items[i].port_last != b->items[i].port_last)
			return false;
	}
	return true;
}

int filter_protocol_parse(enum filter_protocol *out, const char *text)
{
	for (size_t i = 0; i < sizeof(protocol_names) / sizeof(protocol_names[0]); i++) {
		if (strcmp(protocol_names[i], text) == 0) {
			*out = (enum filter_protocol)i;
			return 0;
		}
	}
	return err_set(EINVAL);
}

static bool parse_port(const char **p, uint16_t *out)
{
	unsigned n = 0;
	int digits = 0;

	for (; **p >= '0' && **p <= '9' && digits < 6; (*p)++, digits++)
		n = n * 10 + (unsigned)(**p - '0');
	*out = (uint16_t)n;
	return digits > 0 && n <= PORT_MAX;
}

const char *filter_ports_parse(struct filter *out, const char *text)
{
	const char *p = text;

	if (!parse_port(&p, &out->port_first))
		return "expected a port (0-65535) or a range like 80-90";
	out->port_last = out->port_first;
	if (*p == '-') {
		p++;
		if (!parse_port(&p, &out->port_last))
			return "expected a port (0-65535) or a range like 80-90";
	}
	if (*p != '\0')
		return "expected a port (0-65535) or a range like 80-90";
	return out->port_last < out->port_first ? "the port range is inverted" : NULL;
}

// "tcp", "tcp:80,90-99", "icmp"; splits in place.
static char *parse_word(struct filter_list *out, char *word)
{
	struct filter f = {.port_last = PORT_MAX};
	char *ports = strchr(word, ':');
	char *rest = NULL;

	if (ports != NULL)
		*ports++ = '\0';
	if (filter_protocol_parse(&f.protocol, word) != 0)
		return alloc_format("\"%s\": expected tcp, udp or icmp", word);
	if (f.protocol == FILTER_PROTOCOL_ICMP)
		f.port_last = 0;
	if (ports == NULL) {
		filter_list_add(out, f);
		return NULL;
	}
	if (f.protocol == FILTER_PROTOCOL_ICMP)
		return alloc_text("icmp has no ports");
	if (*ports == '\0')
		return alloc_format("\"%s:\": no ports after the colon", word);
	for (char *range = strtok_r(ports, ",", &rest); range != NULL;
	     range = strtok_r(NULL, ",", &rest)) {
		const char *what = filter_ports_parse(&f, range);

		if (what != NULL)
			return alloc_format("\"%s\": %s", range, what);
		filter_list_add(out, f);
	}
	return NULL;
}

char *filter_list_parse(struct filter_list *out, const char *text)
{
	char *copy = alloc_text(text);
	char *rest = NULL;
	char *error = NULL;
	bool is_any = false;

	*out = (struct filter_list){};
	for (char *word = strtok_r(copy, " ", &rest); word != NULL && error == NULL;
	     word = strtok_r(NULL, " ", &rest)) {
		if (strcmp(word, "any") == 0)
			is_any = true;
		else
			error = parse_word(out, word);
	}
	// A forgotten argument must not open a resource.
	if (error == NULL && is_any == (out->n_items > 0))
		error = alloc_text("expected filters like \"tcp:80,443 icmp\", or \"any\" alone");
	if (error != NULL)
		filter_list_fini(out);
	free(copy);
	return error;
}

static const char *item_from_json(struct filter *out, const json_t *json)
{
	json_t *first = json_object_get(json, "port_range_start");
	json_t *last = json_object_get(json, "port_range_end");
	const char *protocol = json_string_value(json_object_get(json, "protocol"));
	const json_int_t port_first = json_integer_value(first);
	const json_int_t port_last = last != NULL ? json_integer_value(last) : PORT_MAX;

	if (protocol == NULL || filter_protocol_parse(&out->protocol, protocol) != 0)
		return "protocol: expected \"tcp\", \"udp\" or \"icmp\"";
	if (out->protocol == FILTER_PROTOCOL_ICMP)
		return first != NULL || last != NULL ? "icmp has no ports" : NULL;
	if ((first != NULL && !json_is_integer(first)) || (last != NULL && !json_is_integer(last))
	    || port_first < 0 || port_first > PORT_MAX || port_last < 0 || port_last > PORT_MAX)
		return "ports: expected integers from 0 to 65535";
	out->port_first = (uint16_t)port_first;
	out->port_last = (uint16_t)port_last;
	return port_last < port_first ? "the port range is inverted" : NULL;
}

char *filter_list_from_json(struct filter_list *out, const json_t *json)
{
	size_t i;
	json_t *item;

	*out = (struct filter_list){};
	if (!json_is_array(json))
		return alloc_text("expected a JSON array of filters");
	json_array_foreach(json, i, item) {
		struct filter f = {};
		const char *what = item_from_json(&f, item);

		if (what != NULL) {
			filter_list_fini(out);
			return alloc_format("filters[%zu]: %s", i, what);
		}
		filter_list_add(out, f);
	}
	return NULL;
}

json_t *filter_list_to_json(const struct filter_list *list)
{
	json_t *array = alloc_check(json_array());

	for (size_t i = 0; i < list->n_items; i++) {
		const struct filter *f = &list->items[i];
		json_t *item = json_pack("{s:s}", "protocol", protocol_names[f->protocol]);

		if (f->protocol != FILTER_PROTOCOL_ICMP) {
			json_object_set_new(item, "port_range_start", json_integer(f->port_first));
			json_object_set_new(item, "port_range_end", json_integer(f->port_last));
		}
		json_array_append_new(array, alloc_check(item));
	}
	return array;
}
