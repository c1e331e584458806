// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/ice_table.h"

#include "control/base/err.h"
#include "control/path/ice_internal.h"

#include <sodium.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert(ICE_TABLE_KEY_SIZE == crypto_shorthash_KEYBYTES, "SipHash key");
static_assert(offsetof(struct ice_agent, node) == 0, "agents are found by their node");
static_assert(offsetof(struct ice_attempt, node) == 0, "attempts are found by their node");

struct ice_table {
	struct hash_map agents; // by USERNAME of requests to them
	struct hash_map attempts; // by transaction id
	uint8_t key[ICE_TABLE_KEY_SIZE];
};

static uint64_t hash_of(const struct ice_table *table, const void *data, size_t size)
{
	uint8_t out[crypto_shorthash_BYTES];
	uint64_t hash;

	crypto_shorthash(out, data, size, table->key);
	memcpy(&hash, out, sizeof(hash));
	return hash;
}

struct ice_table *ice_table_create(const uint8_t key[ICE_TABLE_KEY_SIZE])
{
	struct ice_table *table = calloc(1, sizeof(*table));

	if (table == NULL)
		return err_set_null(ENOMEM);
	memcpy(table->key, key, sizeof(table->key));
	if (hash_map_init(&table->agents) < 0 || hash_map_init(&table->attempts) < 0) {
		ice_table_destroy(table);
		return err_set_null(ENOMEM);
	}
	return table;
}

void ice_table_destroy(struct ice_table *table)
{
	if (table == NULL)
		return;
	hash_map_fini(&table->agents);
	hash_map_fini(&table->attempts);
	sodium_memzero(table, sizeof(*table));
	free(table);
}

size_t ice_table_agent_count(const struct ice_table *table)
{
	return table->agents.n_nodes;
}

void ice_table_add_agent(struct ice_table *table, struct ice_agent *agent)
{
	hash_map_add(
		&table->agents,
		&agent->node,
		hash_of(table, agent->username_rx, strlen(agent->username_rx)));
}

void ice_table_del_agent(struct ice_table *table, struct ice_agent *agent)
{
	hash_map_del(&table->agents, &agent->node);
}

void ice_table_add_attempt(struct ice_table *table, struct ice_attempt *attempt)
{
	hash_map_add(
		&table->attempts,
		&attempt->node,
		hash_of(table, &attempt->txid, sizeof(attempt->txid)));
}

void ice_table_del_attempt(struct ice_table *table, struct ice_attempt *attempt)
{
	hash_map_del(&table->attempts, &attempt->node);
}

// One arriving message and where it came in.
struct arrival {
	uint64_t now;
	const struct ip_endpoint *local;
	const struct ip_endpoint *remote;
	struct stun_msg msg;
};

// Equal USERNAMEs of different agents are possible (40 random bits); the password tells.
static enum ice_rx
dispatch_request(struct ice_table *table, const struct arrival *a, struct ice_agent **agent)
{
	const struct stun_bytes *name = &a->msg.username;
	enum ice_rx rx = ICE_RX_UNKNOWN_USERNAME;
	struct hash_node *node;
	uint64_t hash;

	if ((a->msg.has & STUN_HAS_USERNAME) == 0)
		return ICE_RX_NO_USERNAME;
	hash = hash_of(table, name->data, name->size);
	for (node = hash_map_first(&table->agents, hash); node != NULL;
	     node = hash_node_next(node)) {
		struct ice_agent *candidate = (struct ice_agent *)node;

		if (strlen(candidate->username_rx) != name->size
		    || memcmp(candidate->username_rx, name->data, name->size) != 0)
			continue;
		rx = ice_check_receive(candidate, a->now, a->local, a->remote, &a->msg, NULL);
		if (rx == ICE_RX_BAD_INTEGRITY || rx == ICE_RX_AGENT_FAILED)
			continue;
		*agent = candidate;
		break;
	}
	return rx;
}

static enum ice_rx
dispatch_response(struct ice_table *table, const struct arrival *a, struct ice_agent **agent)
{
	uint64_t hash = hash_of(table, &a->msg.txid, sizeof(a->msg.txid));
	struct hash_node *node;
	struct ice_attempt *attempt;

	for (node = hash_map_first(&table->attempts, hash); node != NULL;
	     node = hash_node_next(node)) {
		attempt = (struct ice_attempt *)node;
		if (memcmp(&attempt->txid, &a->msg.txid, sizeof(attempt->txid)) != 0)
			continue;
		*agent = attempt->pair->agent;
		return ice_check_receive(*agent, a->now, a->local, a->remote, &a->msg, attempt);
	}
	return ICE_RX_UNKNOWN_TXID;
}

enum ice_rx ice_table_handle_packet(
	struct ice_table *table,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	struct ice_agent **agent)
{
	struct arrival a = {.now = now, .local = local, .remote = remote};
	enum ice_rx rx;

	*agent = NULL;
	if (!stun_is_message(data, size))
		return ICE_RX_NOT_STUN;
	if (stun_msg_parse(&a.msg, data, size) < 0)
		return ICE_RX_MALFORMED;
	rx = ice_check_screen(&a.msg);
	if (rx == ICE_RX_REQUEST)
		return dispatch_request(table, &a, agent);
	if (rx == ICE_RX_RESPONSE)
		return dispatch_response(table, &a, agent);
	return rx;
}
