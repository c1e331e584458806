// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include "control/base/addr.h"

#include <stddef.h>
#include <stdint.h>

/**
 * The two UDP sockets, IPv4 and IPv6, with the local address of every datagram known both ways, in
 * batches, and in trains of equal datagrams where the kernel can cut them (UDP_SEGMENT). Port 52625, or any other if that is taken; a family that the host lacks is left out.
 *
 * Thread-safety: one thread. Ownership: create/destroy.
 */

#define SOCKETS_PORT 52625
/** Datagrams per system call. */
#define SOCKETS_BATCH 64
/** Room for a datagram, and around it for whoever opens it in place. Bytes. */
#define SOCKETS_BUFFER_SIZE 2048

struct sockets;

/**
 * Opens both sockets.
 * @param mark SO_MARK of everything sent
 * @return NULL with errno when not even one family works
 */
struct sockets *sockets_create(uint32_t mark);
void sockets_destroy(struct sockets *s);

/** Descriptor to poll for reading, -1 if the family is left out. */
int sockets_fd(const struct sockets *s, enum ip_family family);
/** Our port in host order, 0 if the family is left out. */
uint16_t sockets_port(const struct sockets *s, enum ip_family family);

/** Gets one datagram; @p data may be changed up to SOCKETS_BUFFER_SIZE bytes. */
typedef void (*sockets_receive_fn)(
	void *ctx,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	uint8_t ecn,
	uint8_t *data,
	size_t size);

/** Reads one batch. @return how many datagrams were read, less than SOCKETS_BATCH when that was all */
unsigned
sockets_receive(struct sockets *s, enum ip_family family, sockets_receive_fn fn, void *ctx);

/** Queues a copy of a datagram; sends when the queue is full. Drops what is too long. */
void sockets_send(
	struct sockets *s,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const void *data,
	size_t size,
	uint8_t ecn);
/** Sends what is queued. */
void sockets_flush(struct sockets *s);

/** Datagrams that the kernel did not take. */
uint64_t sockets_dropped(const struct sockets *s);
