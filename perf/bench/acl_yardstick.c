// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/bench/acl_yardstick.h"

#include <rte_acl.h>
#include <rte_byteorder.h>

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct acl_yardstick {
	struct rte_acl_ctx *v4, *v6; // NULL: no rules of the family
};

// What rte_acl reads. Both families use the same layout; IPv4 has its address in addr[0].
struct input {
	uint8_t class_;
	uint8_t pad[3];
	rte_be32_t addr[4];
	rte_be16_t port;
	uint16_t pad2;
};

// rte_acl wants one byte first and the rest in groups of 4 bytes with one input index each; hence
// the two wildcard bytes behind the port.
#define FIELD(t, s, field, input, off)                                                             \
	{                                                                                          \
		.type = RTE_ACL_FIELD_TYPE_##t, .size = (s), .field_index = (field),               \
		.input_index = (input), .offset = (off),                                           \
	}

static const struct rte_acl_config config_v4 = {
	.num_categories = 1,
	.num_fields = 4,
	.defs =
		{
			FIELD(RANGE, 1, 0, 0, offsetof(struct input, class_)),
			FIELD(MASK, 4, 1, 1, offsetof(struct input, addr)),
			FIELD(RANGE, 2, 2, 2, offsetof(struct input, port)),
			FIELD(RANGE, 2, 3, 2, offsetof(struct input, pad2)),
		},
};

static const struct rte_acl_config config_v6 = {
	.num_categories = 1,
	.num_fields = 7,
	.defs =
		{
			FIELD(RANGE, 1, 0, 0, offsetof(struct input, class_)),
			FIELD(MASK, 4, 1, 1, offsetof(struct input, addr)),
			FIELD(MASK, 4, 2, 2, offsetof(struct input, addr) + 4),
			FIELD(MASK, 4, 3, 3, offsetof(struct input, addr) + 8),
			FIELD(MASK, 4, 4, 4, offsetof(struct input, addr) + 12),
			FIELD(RANGE, 2, 5, 5, offsetof(struct input, port)),
			FIELD(RANGE, 2, 6, 5, offsetof(struct input, pad2)),
		},
};

static struct rte_acl_field range(uint16_t first, uint16_t last)
{
	return (struct rte_acl_field){.value.u16 = first, .mask_range.u16 = last};
}

// Writes the rule that stands for one filter (NULL: everything) of @p r.
static void rule_write(
	struct rte_acl_rule *rule,
	const struct acl_resource *r,
	const struct acl_filter *f,
	uint32_t id)
{
	static const uint8_t classes[][2] = {
		[ACL_PROTOCOL_TCP] = {ACL_CLASS_TCP, ACL_CLASS_TCP},
		[ACL_PROTOCOL_UDP] = {ACL_CLASS_UDP, ACL_CLASS_UDP},
		[ACL_PROTOCOL_ICMP] = {ACL_CLASS_ICMP_ECHO, ACL_CLASS_ICMP_OTHER},
	};
	bool has_ports = f != NULL && f->protocol != ACL_PROTOCOL_ICMP;
	struct rte_acl_field *field = rule->field;

	rule->data = (struct rte_acl_rule_data){1, (int32_t)id, id};
	field->value.u8 = f != NULL ? classes[f->protocol][0] : ACL_CLASS_TCP;
	field->mask_range.u8 = f != NULL ? classes[f->protocol][1] : ACL_CLASS_OTHER;
	field++;
	for (unsigned w = 0; w < ip_addr_size(&r->prefix.addr) / 4; w++, field++) {
		unsigned left = r->prefix.len > w * 32 ? r->prefix.len - w * 32 : 0;
		uint32_t word;

		memcpy(&word, r->prefix.addr.bytes + w * 4, sizeof(word));
		field->value.u32 = rte_be_to_cpu_32(word);
		field->mask_range.u32 = left > 32 ? 32 : left;
	}
	*field++ = has_ports ? range(f->port_first, f->port_last) : range(0, UINT16_MAX);
	*field = range(0, UINT16_MAX);
}

static uint32_t rules_write(
	uint8_t *rules,
	size_t rule_size,
	const struct acl_resource *resources,
	size_t n,
	const uint16_t *ordinals,
	enum ip_family family)
{
	uint32_t n_rules = 0;

	for (size_t i = 0; i < n; i++) {
		const struct acl_resource *r = &resources[i];
		size_t n_filters = r->n_filters > 0 ? r->n_filters : 1;

		for (size_t k = 0; r->prefix.addr.family == family && k < n_filters; k++)
			rule_write(
				(void *)(rules + n_rules++ * rule_size),
				r,
				r->n_filters > 0 ? &r->filters[k] : NULL,
				ordinals[i] + 1u);
	}
	return n_rules;
}

static bool context_create(
	struct rte_acl_ctx **ctx,
	const struct acl_resource *resources,
	size_t n,
	const uint16_t *ordinals,
	enum ip_family family)
{
	static atomic_uint
		n_named; // rte_acl_create() hands out an existing context for a known name
	const struct rte_acl_config *config = family == IP_FAMILY_V4 ? &config_v4 : &config_v6;
	char name[RTE_ACL_NAMESIZE];
	struct rte_acl_param param = {
		.name = name,
		.socket_id = SOCKET_ID_ANY,
		.rule_size = (uint32_t)RTE_ACL_RULE_SZ(config->num_fields),
		.max_rule_num = 1,
	};
	uint32_t n_rules;
	uint8_t *rules;
	bool is_ok;

	for (size_t i = 0; i < n; i++)
		param.max_rule_num += (uint32_t)resources[i].n_filters + 1;
	rules = calloc(param.max_rule_num, param.rule_size);
	if (rules == NULL)
		return false;
	n_rules = rules_write(rules, param.rule_size, resources, n, ordinals, family);
	is_ok = true;
	if (n_rules > 0) {
		snprintf(name, sizeof(name), "yardstick%x", atomic_fetch_add(&n_named, 1));
		param.max_rule_num = n_rules;
		*ctx = rte_acl_create(&param);
		is_ok = *ctx != NULL && rte_acl_add_rules(*ctx, (void *)rules, n_rules) == 0
			&& rte_acl_build(*ctx, config) == 0;
	}
	free(rules);
	return is_ok;
}

struct acl_yardstick *
acl_yardstick_create(const struct acl_resource *resources, size_t n, const uint16_t *ordinals)
{
	struct acl_yardstick *y = calloc(1, sizeof(*y));

	if (y == NULL)
		return NULL;
	if (!context_create(&y->v4, resources, n, ordinals, IP_FAMILY_V4)
	    || !context_create(&y->v6, resources, n, ordinals, IP_FAMILY_V6)) {
		acl_yardstick_destroy(y);
		return NULL;
	}
	return y;
}

void acl_yardstick_destroy(struct acl_yardstick *y)
{
	if (y == NULL)
		return;
	rte_acl_free(y->v4);
	rte_acl_free(y->v6);
	free(y);
}

static void family_judge(
	const struct rte_acl_ctx *ctx,
	enum ip_family family,
	const struct acl_key *keys,
	uint16_t *verdicts,
	unsigned n)
{
	struct input inputs[YARDSTICK_BURST_MAX];
	const uint8_t *data[YARDSTICK_BURST_MAX];
	uint32_t results[YARDSTICK_BURST_MAX];
	uint8_t index[YARDSTICK_BURST_MAX];
	uint32_t n_inputs = 0;

	for (unsigned i = 0; i < n; i++) {
		struct input *in = &inputs[n_inputs];

		if (keys[i].family != family)
			continue;
		*in = (struct input){.class_ = keys[i].class_};
		in->port = rte_cpu_to_be_16(keys[i].port);
		memcpy(in->addr, keys[i].addr, family == IP_FAMILY_V4 ? 4 : 16);
		data[n_inputs] = (const uint8_t *)in;
		index[n_inputs++] = (uint8_t)i;
	}
	if (ctx == NULL || n_inputs == 0 || rte_acl_classify(ctx, data, results, n_inputs, 1) != 0)
		return;
	for (uint32_t i = 0; i < n_inputs; i++) {
		if (results[i] != 0)
			verdicts[index[i]] = (uint16_t)(results[i] - 1);
	}
}

void acl_yardstick_burst(
	const struct acl_yardstick *const *yardsticks,
	const struct acl_key *keys,
	uint16_t *verdicts,
	unsigned n)
{
	unsigned first = 0, end;

	assert(n <= YARDSTICK_BURST_MAX);
	for (unsigned i = 0; i < n; i++)
		verdicts[i] = ACL_VERDICT_PROHIBITED;
	for (; first < n; first = end) {
		const struct acl_yardstick *y = yardsticks[first];

		for (end = first + 1; end < n && yardsticks[end] == y;)
			end++;
		family_judge(y->v4, IP_FAMILY_V4, keys + first, verdicts + first, end - first);
		family_judge(y->v6, IP_FAMILY_V6, keys + first, verdicts + first, end - first);
	}
}
