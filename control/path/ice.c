// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/path/ice.h"

#include "control/base/err.h"
#include "control/path/ice_internal.h"

#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *ice_rx_name(enum ice_rx rx)
{
	static const char *const names[ICE_RX_COUNT] = {
#define ICE_RX_NAME(name, text) [ICE_RX_##name] = text,
		ICE_RX_LIST(ICE_RX_NAME)
#undef ICE_RX_NAME
	};

	return rx < ICE_RX_COUNT ? names[rx] : "?";
}

static bool text_fits(const char *text, size_t len_max)
{
	return text != NULL && text[0] != '\0' && strlen(text) <= len_max;
}

static bool config_is_valid(const struct ice_config *config)
{
	return config->mac != NULL && config->random != NULL
		&& text_fits(config->local_ufrag, ICE_UFRAG_LEN_MAX)
		&& text_fits(config->remote_ufrag, ICE_UFRAG_LEN_MAX)
		&& text_fits(config->local_pwd, ICE_PWD_LEN_MAX)
		&& text_fits(config->remote_pwd, ICE_PWD_LEN_MAX);
}

static void config_copy(struct ice_agent *agent, const struct ice_config *config)
{
	agent->table = config->table;
	agent->mac = config->mac;
	agent->random = config->random;
	agent->random_ctx = config->random_ctx;
	agent->user = config->user;
	agent->role = config->role;
	agent->profile = config->profile;
	agent->tie_breaker = config->tie_breaker;
	strcpy(agent->local_ufrag, config->local_ufrag);
	strcpy(agent->remote_ufrag, config->remote_ufrag);
	strcpy(agent->local_pwd, config->local_pwd);
	strcpy(agent->remote_pwd, config->remote_pwd);
	snprintf(
		agent->username_rx,
		sizeof(agent->username_rx),
		"%s:%s",
		agent->local_ufrag,
		agent->remote_ufrag);
	snprintf(
		agent->username_tx,
		sizeof(agent->username_tx),
		"%s:%s",
		agent->remote_ufrag,
		agent->local_ufrag);
}

struct ice_agent *ice_agent_create(const struct ice_config *config, uint64_t now)
{
	struct ice_agent *agent;

	if (!config_is_valid(config))
		return err_set_null(EINVAL);
	agent = calloc(1, sizeof(*agent));
	if (agent == NULL)
		return err_set_null(ENOMEM);
	config_copy(agent, config);
	agent->out_tail = &agent->out_head;
	agent->candidate_deadline = now + ICE_CANDIDATE_TIMEOUT_NS;
	agent->grace_deadline = ICE_DEADLINE_NONE;
	if (agent->table != NULL)
		ice_table_add_agent(agent->table, agent);
	return agent;
}

static void queue_clear(struct ice_agent *agent)
{
	struct ice_transmit transmit;

	while (ice_agent_poll_transmit(agent, &transmit))
		continue;
}

void ice_agent_destroy(struct ice_agent *agent)
{
	if (agent == NULL)
		return;
	while (agent->n_remotes > 0)
		ice_remote_forget(agent, agent->remotes[agent->n_remotes - 1]);
	while (agent->n_locals > 0)
		free(agent->locals[--agent->n_locals]);
	if (agent->table != NULL)
		ice_table_del_agent(agent->table, agent);
	queue_clear(agent);
	sodium_memzero(agent, sizeof(*agent));
	free(agent);
}

void *ice_agent_user(const struct ice_agent *agent)
{
	return agent->user;
}

struct ice_transmit *ice_agent_queue(
	struct ice_agent *agent,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote)
{
	struct ice_out *out;

	if (agent->n_out == ICE_TRANSMIT_QUEUE_MAX)
		return NULL;
	out = malloc(sizeof(*out));
	if (out == NULL)
		return NULL;
	out->next = NULL;
	out->transmit.local = *local;
	out->transmit.remote = *remote;
	out->transmit.size = 0;
	*agent->out_tail = out;
	agent->out_tail = &out->next;
	agent->n_out++;
	return &out->transmit;
}

void ice_agent_unqueue(struct ice_agent *agent)
{
	struct ice_out **link = &agent->out_head;

	while ((*link)->next != NULL)
		link = &(*link)->next;
	free(*link);
	*link = NULL;
	agent->out_tail = link;
	agent->n_out--;
}

bool ice_agent_poll_transmit(struct ice_agent *agent, struct ice_transmit *out)
{
	struct ice_out *first = agent->out_head;

	if (first == NULL)
		return false;
	*out = first->transmit;
	agent->out_head = first->next;
	if (agent->out_head == NULL)
		agent->out_tail = &agent->out_head;
	agent->n_out--;
	free(first);
	return true;
}

void ice_agent_report(struct ice_agent *agent, const struct ice_event *event)
{
	size_t n = agent->n_events;

	// A newer choice makes an unread one pointless.
	if (n > 0 && event->type == ICE_EVENT_SELECTED_PAIR_CHANGED
	    && agent->events[n - 1].type == ICE_EVENT_SELECTED_PAIR_CHANGED)
		n--;
	if (n == ICE_EVENT_QUEUE_MAX) {
		n--;
		memmove(&agent->events[0], &agent->events[1], n * sizeof(agent->events[0]));
	}
	agent->events[n] = *event;
	agent->n_events = n + 1;
}

bool ice_agent_poll_event(struct ice_agent *agent, struct ice_event *out)
{
	if (agent->n_events == 0)
		return false;
	*out = agent->events[0];
	agent->n_events--;
	memmove(&agent->events[0], &agent->events[1], agent->n_events * sizeof(agent->events[0]));
	return true;
}

void ice_agent_progress(struct ice_agent *agent, uint64_t now)
{
	struct ice_pair *before;

	if (agent->has_failed)
		return;
	// A choice makes a check due at once; giving up a pair makes a choice necessary.
	do {
		ice_check_run(agent, now);
		before = agent->selected;
		ice_select_run(agent, now, NULL);
	} while (agent->selected != before);
	ice_select_report(agent, now);
}

enum ice_rx ice_agent_handle_packet(
	struct ice_agent *agent,
	uint64_t now,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size)
{
	struct stun_msg msg;

	if (!stun_is_message(data, size))
		return ICE_RX_NOT_STUN;
	if (stun_msg_parse(&msg, data, size) < 0)
		return ICE_RX_MALFORMED;
	return ice_check_receive(agent, now, local, remote, &msg, NULL);
}

void ice_agent_handle_timeout(struct ice_agent *agent, uint64_t now)
{
	ice_agent_progress(agent, now);
}

uint64_t ice_agent_next_deadline(const struct ice_agent *agent)
{
	uint64_t next = agent->candidate_deadline;

	if (agent->has_failed)
		return ICE_DEADLINE_NONE;
	if (agent->grace_deadline < next)
		next = agent->grace_deadline;
	for (size_t i = 0; i < agent->n_pairs; i++) {
		if (agent->pairs[i]->next_tx < next)
			next = agent->pairs[i]->next_tx;
	}
	return next;
}

void ice_agent_set_idle(struct ice_agent *agent, uint64_t now, bool is_idle)
{
	if (agent->is_idle == is_idle)
		return;
	agent->is_idle = is_idle;
	for (size_t i = 0; i < agent->n_pairs; i++)
		ice_check_reschedule(agent->pairs[i], now);
	ice_agent_progress(agent, now);
}

void ice_agent_rearm(struct ice_agent *agent, uint64_t now)
{
	for (size_t i = 0; i < agent->n_pairs; i++)
		ice_check_arm(agent->pairs[i], now);
	for (size_t i = 0; i < agent->n_remotes; i++) {
		if (!agent->remotes[i]->is_withdrawn)
			ice_pair_form_remote(agent, now, agent->remotes[i]);
	}
	ice_agent_progress(agent, now);
}

bool ice_agent_selected(
	const struct ice_agent *agent,
	struct ip_endpoint *local,
	struct ip_endpoint *remote)
{
	if (agent->selected == NULL)
		return false;
	*local = agent->selected->local->base;
	*remote = agent->selected->remote->c.addr;
	return true;
}

size_t ice_agent_pair_count(const struct ice_agent *agent)
{
	return agent->n_pairs;
}
