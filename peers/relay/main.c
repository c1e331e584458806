// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "control/base/log.h"
#include "control/base/uv_cast.h"
#include "control/portal/session.h"
#include "peers/relay/config.h"
#include "peers/relay/health.h"
#include "peers/relay/relay.h"
#include "peers/relay/sockets.h"

#include <sodium.h>

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LOG_AREA "relay.main"
#define SOFTWARE "sallyport-relay"
/** Without the portal for so long, the relay ends: nobody is told of it any more. */
#define PARTITION_MAX_MS (UINT64_C(24) * 3600 * 1000)

static const char usage[] =
	"usage: sallyport-relay [--log-level LEVEL]\n"
	"LEVEL is err, warning, notice (default), info or debug. Settings are in the environment:\n"
	"PUBLIC_IP4_ADDR PUBLIC_IP6_ADDR BIND_IP4_ADDR BIND_IP6_ADDR LISTEN_PORT LOWEST_PORT\n"
	"HIGHEST_PORT FIREZONE_API_URL FIREZONE_TOKEN FIREZONE_NAME HEALTH_CHECK_ADDR\n"
	"SALLYPORT_RELAY_SECRET\n";

// Everything of a running relay.
struct program {
	const struct config *config;
	char secret[sizeof(((struct config *)0)->secret)];
	uv_loop_t loop;
	uv_signal_t signals[2];
	uv_timer_t partition;
	struct sockets *sockets;
	struct relay *relay;
	struct health *health;
	struct session *session;
	bool is_stopping;
	int status;
};

static void log_totals(const struct relay *r)
{
	const struct relay_stats *st = relay_stats(r);

	LOG(NOTICE,
	    "totals to_peer=%" PRIu64 " to_client=%" PRIu64 " bytes=%" PRIu64 " requests=%" PRIu64
	    " errors=%" PRIu64 " allocations=%zu",
	    st->to_peer,
	    st->to_client,
	    st->to_peer_bytes + st->to_client_bytes,
	    st->requests,
	    st->errors,
	    st->n_allocations);
	for (enum relay_drop d = 0; d < RELAY_DROP_COUNT; d++) {
		if (st->drops[d] > 0)
			LOG(NOTICE,
			    "dropped reason=%s n=%" PRIu64,
			    relay_drop_name(d),
			    st->drops[d]);
	}
}

// The portal has heard the close, or there is none: the rest goes.
static void stop_rest(struct program *p)
{
	for (size_t i = 0; i < 2; i++)
		uv_cast_close(&p->signals[i]);
	uv_cast_close(&p->partition);
	health_close(p->health);
	if (p->relay != NULL)
		log_totals(p->relay);
	relay_destroy(p->relay);
	sockets_close(p->sockets);
}

static void stop(struct program *p, int status)
{
	if (p->is_stopping)
		return;
	p->is_stopping = true;
	p->status = status;
	if (p->session != NULL)
		session_close(p->session);
	else
		stop_rest(p);
}

static void on_signal(uv_signal_t *handle, int signal)
{
	LOG(NOTICE, "stopping signal=%d", signal);
	stop(handle->data, EXIT_SUCCESS);
}

static void on_partition(uv_timer_t *timer)
{
	LOG(ERR, "no portal for too long, giving up");
	stop(timer->data, EXIT_FAILURE);
}

static void partition_arm(struct program *p)
{
	uv_timer_start(&p->partition, on_partition, PARTITION_MAX_MS, 0);
}

static void on_joined(void *ctx)
{
	struct program *p = ctx;

	uv_timer_stop(&p->partition);
}

static void on_message(void *, const char *event, const json_t *)
{
	// The portal says "init" and nothing else.
	LOG(DEBUG, "message event=%s", event);
}

static void on_down(void *ctx, const char *)
{
	struct program *p = ctx;

	if (!p->is_stopping)
		partition_arm(p);
}

static void on_fatal(void *ctx, const char *)
{
	stop(ctx, EXIT_FAILURE);
}

static void on_closed(void *ctx)
{
	struct program *p = ctx;

	p->session = NULL;
	p->is_stopping = true;
	stop_rest(p);
}

static bool is_ready(void *ctx)
{
	const struct program *p = ctx;

	// Without a portal there is nothing to wait for.
	return !p->is_stopping && (p->session == NULL || session_is_joined(p->session));
}

// A relay's secret is as old as its process, so that a new one is a new relay to everybody.
static void secret_make(struct program *p)
{
	uint8_t bytes[32];

	if (p->config->secret[0] != '\0') {
		memcpy(p->secret, p->config->secret, sizeof(p->secret));
		return;
	}
	randombytes_buf(bytes, sizeof(bytes));
	sodium_bin2hex(p->secret, sizeof(p->secret), bytes, sizeof(bytes));
	sodium_memzero(bytes, sizeof(bytes));
}

static const char *addr_text(const struct ip_addr *a, char buf[IP_TEXT_SIZE])
{
	return a->family != IP_FAMILY_NONE ? ip_addr_format(a, buf) : NULL;
}

static int portal_start(struct program *p)
{
	const struct config *c = p->config;
	char user_agent[LOGIN_USER_AGENT_SIZE];
	struct login_system system;
	struct portal_error err = {0};
	char v4[IP_TEXT_SIZE];
	char v6[IP_TEXT_SIZE];
	json_t *join = json_pack("{s:s}", "stamp_secret", p->secret);
	const struct session_config config = {
		.login =
			{
				.role = LOGIN_ROLE_RELAY,
				.api_url = c->api_url,
				.name = c->name,
				.token = c->token,
				.ipv4 = addr_text(&c->public_v4, v4),
				.ipv6 = addr_text(&c->public_v6, v6),
				.port = sockets_port(p->sockets),
			},
		.user_agent = user_agent,
		.join_payload = join,
		.callbacks = {on_joined, on_message, on_down, on_fatal, on_closed},
		.ctx = p,
	};

	login_system_read(&system);
	login_user_agent(user_agent, LOGIN_ROLE_RELAY, &system);
	p->session = session_create(&p->loop, &config, &err);
	json_decref(join);
	if (p->session == NULL) {
		LOG(ERR, "cannot start the portal session error=\"%s\"", err.text);
		return -1;
	}
	partition_arm(p);
	return 0;
}

static int serving_start(struct program *p)
{
	const struct config *c = p->config;
	const struct sockets_config sockets = {c->bind_v4, c->bind_v6, c->listen_port};
	struct relay_config config = {
		.public_v4 = c->public_v4,
		.public_v6 = c->public_v6,
		.lowest_port = c->lowest_port,
		.highest_port = c->highest_port,
		.secret = p->secret,
		.software = SOFTWARE,
		.random = randombytes_buf,
	};
	char id[CREDENTIALS_UUID_SIZE];

	p->sockets = sockets_create(&p->loop, &sockets);
	if (p->sockets == NULL) {
		LOG(ERR, "cannot listen port=%u error=%m", c->listen_port);
		return -1;
	}
	config.listen_port = sockets_port(p->sockets);
	config.ports = sockets_ports(p->sockets);
	p->relay = relay_create(&config);
	if (p->relay == NULL) {
		LOG(ERR, "cannot start the relay error=%m");
		return -1;
	}
	sockets_start(p->sockets, p->relay);
	if (c->health.addr.family != IP_FAMILY_NONE) {
		p->health = health_create(&p->loop, &c->health, is_ready, p);
		if (p->health == NULL) {
			LOG(ERR, "cannot listen for health checks error=%m");
			return -1;
		}
	}
	credentials_relay_id(id, p->secret);
	LOG(NOTICE, "relay is up id=%s port=%u", id, config.listen_port);
	return c->api_url[0] != '\0' ? portal_start(p) : 0;
}

// Every allocation takes a descriptor per family.
static void descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		LOG(WARNING, "descriptor limit error=%m");
}

static int run(const struct config *c)
{
	static const int numbers[2] = {SIGTERM, SIGINT};
	struct program p = {.config = c};

	descriptors_raise();
	secret_make(&p);
	uv_loop_init(&p.loop);
	for (size_t i = 0; i < 2; i++) {
		uv_signal_init(&p.loop, &p.signals[i]);
		p.signals[i].data = &p;
		uv_signal_start(&p.signals[i], on_signal, numbers[i]);
	}
	uv_timer_init(&p.loop, &p.partition);
	p.partition.data = &p;
	if (serving_start(&p) != 0)
		stop(&p, EXIT_FAILURE);
	uv_run(&p.loop, UV_RUN_DEFAULT);
	sockets_destroy(p.sockets);
	uv_loop_close(&p.loop);
	sodium_memzero(p.secret, sizeof(p.secret));
	return p.status;
}

static const char *env_get(const char *name)
{
	return getenv(name);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"log-level", required_argument, NULL, 'l'},
		{},
	};
	char error[CONFIG_ERROR_SIZE];
	struct config config;
	int status;
	int c;

	if (sodium_init() < 0) {
		fputs("sallyport-relay: libsodium does not start\n", stderr);
		return EXIT_FAILURE;
	}
	signal(SIGPIPE, SIG_IGN);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'l' && log_level_set(optarg) == 0)
			continue;
		fputs(usage, c == 'h' ? stdout : stderr);
		return c == 'h' ? EXIT_SUCCESS : 2;
	}
	if (optind != argc) {
		fputs(usage, stderr);
		return 2;
	}
	if (config_read(&config, env_get, error) != 0) {
		fprintf(stderr, "sallyport-relay: %s\n", error);
		return EXIT_FAILURE;
	}
	unsetenv("FIREZONE_TOKEN");
	unsetenv("SALLYPORT_RELAY_SECRET");
	status = run(&config);
	config_fini(&config);
	return status;
}
