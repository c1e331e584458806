// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/err.h"
#include "control/path/relays_internal.h"

#include <stdlib.h>
#include <string.h>

#define TURN_PORT 3478
#define CANDIDATES_MAX 6 // per allocation
// Nearness (spec/connectivity.md 3.7).
#define FEW_RELAYS 2
#define DEVIATIONS_MAX 3
#define DEVIATION_MIN_NS 2000000ull

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t median(uint64_t *values, size_t n)
{
	qsort(values, n, sizeof(values[0]), by_value);
	return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// The largest round trip that still counts as near.
static uint64_t near_limit(const uint64_t *rtts, size_t n)
{
	uint64_t sorted[RELAYS_MAX], deviations[RELAYS_MAX], middle, deviation;

	memcpy(sorted, rtts, n * sizeof(rtts[0]));
	middle = median(sorted, n);
	if (n <= FEW_RELAYS)
		return sorted[0] + sorted[0] / 2;
	for (size_t i = 0; i < n; i++)
		deviations[i] = rtts[i] > middle ? rtts[i] - middle : middle - rtts[i];
	deviation = median(deviations, n);
	if (deviation < DEVIATION_MIN_NS)
		deviation = DEVIATION_MIN_NS;
	return middle + DEVIATIONS_MAX * deviation;
}

uint32_t relays_pick(struct relays *relays)
{
	uint64_t rtts[RELAYS_MAX], limit;
	uint32_t handles[RELAYS_MAX], choice;
	size_t n = 0, n_near = 0;

	for (size_t i = 0; i < relays->n; i++) {
		if (turn_allocation_rtt(relays->all[i].allocation, &rtts[n]))
			handles[n++] = relays->all[i].handle;
	}
	if (n == 0)
		return RELAYS_NONE;
	limit = near_limit(rtts, n);
	for (size_t i = 0; i < n; i++) {
		if (rtts[i] <= limit)
			handles[n_near++] = handles[i];
	}
	relays->config.random(relays->config.random_ctx, &choice, sizeof(choice));
	return handles[choice % n_near];
}

static struct relay *find_handle(const struct relays *relays, uint32_t handle)
{
	for (size_t i = 0; i < relays->n; i++) {
		if (relays->all[i].handle == handle)
			return (struct relay *)&relays->all[i];
	}
	return NULL;
}

static bool
is_listed(const struct turn_event *events, size_t n, const struct ice_candidate *candidate)
{
	for (size_t i = 0; i < n; i++) {
		const struct ice_candidate *c = &events[i].candidate;

		if (c->kind == candidate->kind && ip_endpoint_eq(&c->addr, &candidate->addr)
		    && ip_endpoint_eq(&c->base, &candidate->base))
			return true;
	}
	return false;
}

size_t
relays_candidates(const struct relays *relays, uint32_t relay, struct turn_event *out, size_t cap)
{
	struct turn_event each[CANDIDATES_MAX];
	size_t n = 0;

	for (enum ice_kind kind = ICE_KIND_HOST; kind < ICE_KIND_COUNT; kind++) {
		for (size_t i = 0; i < relays->n; i++) {
			size_t n_each = turn_allocation_candidates(
				relays->all[i].allocation, each, CANDIDATES_MAX);

			for (size_t j = 0; j < n_each && n < cap; j++) {
				if (each[j].candidate.kind != kind
				    || (kind == ICE_KIND_RELAY && relays->all[i].handle != relay)
				    || is_listed(out, n, &each[j].candidate))
					continue;
				out[n++] = each[j];
			}
		}
	}
	return n;
}

struct turn_allocation *relays_allocation(struct relays *relays, uint32_t relay)
{
	struct relay *found = find_handle(relays, relay);

	return found != NULL ? found->allocation : NULL;
}

size_t relays_count(const struct relays *relays)
{
	return relays->n;
}

void relays_want_channel(
	struct relays *relays,
	uint64_t now,
	uint32_t relay,
	const struct ice_candidate *remote)
{
	struct relay *found = find_handle(relays, relay);

	if (found == NULL || remote->kind == ICE_KIND_HOST)
		return;
	// A family that the relay lacks, or no number left: then there is no such path.
	if (turn_allocation_bind(found->allocation, now, &remote->addr) < 0)
		return;
}

static struct relay *find_remote(const struct relays *relays, const struct ip_endpoint *remote)
{
	for (size_t i = 0; i < relays->n; i++) {
		if (ip_endpoint_eq(&relays->all[i].remotes[0], remote)
		    || ip_endpoint_eq(&relays->all[i].remotes[1], remote))
			return (struct relay *)&relays->all[i];
	}
	return NULL;
}

bool relays_is_relay(const struct relays *relays, const struct ip_endpoint *remote)
{
	return find_remote(relays, remote) != NULL;
}

// Late datagrams of a former relay; a peer behind its address would not speak TURN.
static bool is_former(
	const struct relays *relays,
	const struct ip_endpoint *remote,
	const uint8_t *data,
	size_t size)
{
	if (size == 0 || !(turn_channel_is_first_byte(data[0]) || stun_is_message(data, size)))
		return false;
	for (size_t i = 0; i < RELAYS_FORMER_MAX; i++) {
		if (ip_addr_eq(&relays->former[i], &remote->addr))
			return true;
	}
	return false;
}

enum turn_rx relays_handle_packet(
	struct relays *relays,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint32_t *relay,
	struct turn_data *out)
{
	struct relay *found = find_remote(relays, remote);
	enum turn_rx rx;

	*relay = found != NULL ? found->handle : RELAYS_NONE;
	if (found == NULL) {
		return remote->port == TURN_PORT && is_former(relays, remote, data, size)
			? TURN_RX_FORMER_RELAY
			: TURN_RX_NOT_FROM_RELAY;
	}
	rx = turn_allocation_handle_packet(found->allocation, now, local, remote, data, size, out);
	relays_settle(relays, now);
	return rx;
}

static struct relay *find_relayed(const struct relays *relays, const struct ip_endpoint *local)
{
	struct ip_endpoint relayed;

	for (size_t i = 0; i < relays->n; i++) {
		if (turn_allocation_relayed(relays->all[i].allocation, local->addr.family, &relayed)
		    && ip_endpoint_eq(&relayed, local))
			return (struct relay *)&relays->all[i];
	}
	return NULL;
}

uint32_t relays_find_relayed(const struct relays *relays, const struct ip_endpoint *local)
{
	const struct relay *found = find_relayed(relays, local);

	return found != NULL ? found->handle : RELAYS_NONE;
}

enum relays_send relays_send(
	struct relays *relays,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size)
{
	struct relay *found = find_relayed(relays, local);

	if (found == NULL)
		return RELAYS_SEND_DIRECT;
	return turn_allocation_send(found->allocation, now, remote, data, size) == 0
		? RELAYS_SEND_RELAYED
		: RELAYS_SEND_DROPPED;
}

int relays_route(
	struct relays *relays,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	struct turn_route *out)
{
	struct relay *found = find_relayed(relays, local);

	if (found == NULL)
		return err_set(EADDRNOTAVAIL);
	return turn_allocation_route(found->allocation, now, remote, out);
}
