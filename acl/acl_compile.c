// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "acl/acl_set.h"
#include "control/base/err.h"

#include <rte_byteorder.h>

#include <stdlib.h>
#include <string.h>

// rte_acl wants one byte first and the rest in groups of 4 bytes with one input index each; hence
// the two wildcard bytes behind the port.
#define FIELD(t, s, field, input, off)                                                             \
	{                                                                                          \
		.type = RTE_ACL_FIELD_TYPE_##t, .size = (s), .field_index = (field),               \
		.input_index = (input), .offset = (off),                                           \
	}

enum {
	N_FIELDS_V4 = 4,
	N_FIELDS_V6 = 7,
};

static const struct rte_acl_field_def defs_v4[N_FIELDS_V4] = {
	FIELD(RANGE, 1, 0, 0, offsetof(struct acl_input, class_)),
	FIELD(MASK, 4, 1, 1, offsetof(struct acl_input, addr)),
	FIELD(RANGE, 2, 2, 2, offsetof(struct acl_input, port)),
	FIELD(RANGE, 2, 3, 2, offsetof(struct acl_input, pad2)),
};

static const struct rte_acl_field_def defs_v6[N_FIELDS_V6] = {
	FIELD(RANGE, 1, 0, 0, offsetof(struct acl_input, class_)),
	FIELD(MASK, 4, 1, 1, offsetof(struct acl_input, addr)),
	FIELD(MASK, 4, 2, 2, offsetof(struct acl_input, addr) + 4),
	FIELD(MASK, 4, 3, 3, offsetof(struct acl_input, addr) + 8),
	FIELD(MASK, 4, 4, 4, offsetof(struct acl_input, addr) + 12),
	FIELD(RANGE, 2, 5, 5, offsetof(struct acl_input, port)),
	FIELD(RANGE, 2, 6, 5, offsetof(struct acl_input, pad2)),
};

struct rules {
	uint8_t *bytes; // rules of rule_size each
	size_t rule_size;
	uint32_t n;
	unsigned n_words; // of an address
};

static struct rte_acl_field range(uint16_t first, uint16_t last)
{
	return (struct rte_acl_field){.value.u16 = first, .mask_range.u16 = last};
}

static void
rule_add(struct rules *rules, const struct ip_prefix *p, const struct acl_filter *f, uint32_t id)
{
	static const uint8_t classes[][2] = {
		[ACL_PROTOCOL_TCP] = {ACL_CLASS_TCP, ACL_CLASS_TCP},
		[ACL_PROTOCOL_UDP] = {ACL_CLASS_UDP, ACL_CLASS_UDP},
		[ACL_PROTOCOL_ICMP] = {ACL_CLASS_ICMP_ECHO, ACL_CLASS_ICMP_OTHER},
	};
	struct rte_acl_rule *rule = (void *)(rules->bytes + rules->n++ * rules->rule_size);
	struct rte_acl_field *field = rule->field;

	rule->data.category_mask = 1;
	rule->data.priority = (int32_t)id;
	rule->data.userdata = id;
	field->value.u8 = f != NULL ? classes[f->protocol][0] : ACL_CLASS_TCP;
	field->mask_range.u8 = f != NULL ? classes[f->protocol][1] : ACL_CLASS_OTHER;
	field++;
	for (unsigned w = 0; w < rules->n_words; w++, field++) {
		unsigned left = p->len > w * 32 ? p->len - w * 32 : 0;
		uint32_t word;

		memcpy(&word, p->addr.bytes + w * 4, sizeof(word));
		field->value.u32 = rte_be_to_cpu_32(word);
		field->mask_range.u32 = left > 32 ? 32 : left;
	}
	*field++ = f != NULL ? range(f->port_first, f->port_last) : range(0, UINT16_MAX);
	*field = range(0, UINT16_MAX);
}

static bool has_internet(const struct acl_canon *canon)
{
	for (size_t i = 0; i < canon->n_resources; i++) {
		if (canon->resources[i].resource.type == ACL_RESOURCE_INTERNET)
			return true;
	}
	return false;
}

static void rules_fill(struct rules *rules, const struct acl_canon *canon, enum ip_family family)
{
	// With an Internet resource CIDR resources do not count (spec/datapath.md 2.3).
	bool dns_only = has_internet(canon);

	for (size_t i = 0; i < canon->n_resources; i++) {
		const struct acl_resource *r = &canon->resources[i].resource;
		uint32_t id = (uint32_t)i + 1;

		if (r->type == ACL_RESOURCE_INTERNET || (dns_only && r->type != ACL_RESOURCE_DNS)
		    || r->prefix.addr.family != family)
			continue;
		if (r->n_filters == 0)
			rule_add(rules, &r->prefix, NULL, id);
		for (size_t k = 0; k < r->n_filters; k++)
			rule_add(rules, &r->prefix, &r->filters[k], id);
	}
}

static int context_build(
	struct rte_acl_ctx **out,
	const struct rules *rules,
	enum ip_family family,
	const char *name,
	int socket_id)
{
	struct rte_acl_param param = {
		.name = name,
		.socket_id = socket_id,
		.rule_size = (uint32_t)rules->rule_size,
		.max_rule_num = rules->n,
	};
	struct rte_acl_config config = {.num_categories = 1};
	struct rte_acl_ctx *ctx = rte_acl_create(&param);
	int rc;

	if (ctx == NULL)
		return -ENOMEM;
	if (family == IP_FAMILY_V4) {
		config.num_fields = N_FIELDS_V4;
		memcpy(config.defs, defs_v4, sizeof(defs_v4));
	} else {
		config.num_fields = N_FIELDS_V6;
		memcpy(config.defs, defs_v6, sizeof(defs_v6));
	}
	rc = rte_acl_add_rules(ctx, (const void *)rules->bytes, rules->n);
	if (rc == 0)
		rc = rte_acl_build(ctx, &config);
	if (rc != 0) {
		rte_acl_free(ctx);
		return rc == -ENOMEM ? rc : -E2BIG;
	}
	*out = ctx;
	return 0;
}

int acl_compile(
	struct rte_acl_ctx **ctx,
	const struct acl_canon *canon,
	enum ip_family family,
	const char *name,
	int socket_id)
{
	struct rules rules = {
		.rule_size = RTE_ACL_RULE_SZ(family == IP_FAMILY_V4 ? N_FIELDS_V4 : N_FIELDS_V6),
		.n_words = family == IP_FAMILY_V4 ? 1 : 4,
	};
	int rc = 0;

	*ctx = NULL;
	rules.bytes = calloc(canon->n_rules + 1, rules.rule_size);
	if (rules.bytes == NULL)
		return -ENOMEM;
	rules_fill(&rules, canon, family);
	if (rules.n > 0)
		rc = context_build(ctx, &rules, family, name, socket_id);
	free(rules.bytes);
	return rc;
}
