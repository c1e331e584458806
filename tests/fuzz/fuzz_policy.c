// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/portal/policy.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

// The portal's policy file: a refusal names it, and every reference of what is accepted leads somewhere.

static void references_check(const struct policy *p)
{
	for (size_t i = 0; i < p->n_gateways; i++) {
		if (p->gateways[i].site >= p->n_sites)
			abort();
	}
	for (size_t i = 0; i < p->n_resources; i++) {
		if (p->resources[i].type != POLICY_RESOURCE_INTERNET
		    && p->resources[i].address == NULL)
			abort();
	}
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];

		if (r->resource >= p->n_resources
		    || r->subject >= (r->is_group ? p->n_groups : p->n_clients))
			abort();
	}
}

static void judge_all(const struct policy *p)
{
	for (size_t i = 0; i < p->n_clients; i++) {
		for (size_t j = 0; j < p->n_resources; j++) {
			int64_t expires_at = 0;

			if (policy_judge(p, &p->clients[i], &p->resources[j], 1, NULL, &expires_at)
				    == POLICY_VERDICT_ALLOWED
			    && expires_at <= 1 && p->clients[i].expires_at > 1)
				abort();
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *error = NULL;
	struct policy *p = policy_parse("p.yaml", (const char *)data, size, &error), *clone;

	if (p == NULL) {
		if (error == NULL || strncmp(error, "p.yaml", 6) != 0)
			abort();
		free(error);
		return 0;
	}
	references_check(p);
	judge_all(p);
	clone = policy_clone(p);
	policy_destroy(p);
	references_check(clone);
	policy_destroy(clone);
	return 0;
}
