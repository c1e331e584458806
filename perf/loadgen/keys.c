// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "perf/loadgen/loadgen.h"

#include <sodium.h>

#include <string.h>

static void key_derive(uint8_t out[NOISE_KEY_SIZE], const char *what, unsigned number)
{
	char text[64];
	int size = snprintf(text, sizeof(text), "sallyport loadgen %s %u", what, number);

	crypto_generichash(out, NOISE_KEY_SIZE, (const uint8_t *)text, (size_t)size, NULL, 0);
	out[0] &= 0xf8;
	out[31] = (out[31] & 0x7f) | 0x40;
}

void lg_key_gateway(uint8_t private_key[NOISE_KEY_SIZE])
{
	key_derive(private_key, "gateway", 0);
}

void lg_key_client(uint8_t private_key[NOISE_KEY_SIZE], unsigned client)
{
	key_derive(private_key, "client", client);
}

void lg_key_print(FILE *out, const uint8_t key[NOISE_KEY_SIZE])
{
	char text[64];

	sodium_bin2base64(text, sizeof(text), key, NOISE_KEY_SIZE, sodium_base64_VARIANT_ORIGINAL);
	fprintf(out, "%s\n", text);
}

static void client_public_print(FILE *out, unsigned client)
{
	uint8_t private_key[NOISE_KEY_SIZE], public_key[NOISE_KEY_SIZE];

	lg_key_client(private_key, client);
	if (crypto_scalarmult_base(public_key, private_key) == 0)
		lg_key_print(out, public_key);
}

static void addr_print(FILE *out, uint32_t addr)
{
	fprintf(out, "%u.%u.%u.%u", addr >> 24, addr >> 16 & 255, addr >> 8 & 255, addr & 255);
}

void lg_config_gateway(FILE *out, unsigned n_clients, const char *key_file)
{
	fprintf(out, "max_clients: %u\nprivate_key_file: %s\n", n_clients, key_file);
	fprintf(out, "tunnel_addresses: 100.64.0.1\npeers:\n");
	for (unsigned i = 0; i < n_clients; i++) {
		fprintf(out, "  - public_key: ");
		client_public_print(out, i);
		fprintf(out, "    addresses: ");
		addr_print(out, LG_TUNNEL_CLIENTS + 1 + i);
		fprintf(out,
			"\n    resources: %s\n",
			i == 0 ? "&lan [{address: 198.19.128.0/17, filters: [udp: 7, icmp]}]"
			       : "*lan");
	}
}

void lg_config_wg(FILE *out, unsigned n_clients)
{
	uint8_t key[NOISE_KEY_SIZE];

	lg_key_gateway(key);
	fprintf(out, "[Interface]\nListenPort = %d\nPrivateKey = ", LG_GATEWAY_PORT);
	lg_key_print(out, key);
	for (unsigned i = 0; i < n_clients; i++) {
		fprintf(out, "[Peer]\nPublicKey = ");
		client_public_print(out, i);
		fprintf(out, "AllowedIPs = ");
		addr_print(out, LG_TUNNEL_CLIENTS + 1 + i);
		fprintf(out, "/32\n");
	}
}
