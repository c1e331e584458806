// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "peers/client/checksum.h"

#include <string.h>

uint64_t checksum_add(uint64_t sum, const uint8_t *data, size_t size)
{
	uint8_t padded[2] = {0};
	uint32_t word;
	uint16_t half;

	for (; size >= 4; data += 4, size -= 4) {
		memcpy(&word, data, sizeof(word));
		sum += word;
	}
	if (size >= 2) {
		memcpy(&half, data, sizeof(half));
		sum += half;
		data += 2;
		size -= 2;
	}
	if (size == 1) {
		padded[0] = data[0];
		memcpy(&half, padded, sizeof(half));
		sum += half;
	}
	return sum;
}

uint64_t checksum_pseudo(uint64_t sum, const uint8_t *ip, uint8_t protocol, size_t l4_size)
{
	const uint8_t tail[4] = {0, protocol, (uint8_t)(l4_size >> 8), (uint8_t)l4_size};

	sum = checksum_add(sum, tail, sizeof(tail));
	return ip[0] >> 4 == 4 ? checksum_add(sum, ip + 12, 8) : checksum_add(sum, ip + 8, 32);
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

void checksum_store(uint8_t field[2], uint64_t sum)
{
	uint16_t checksum = (uint16_t)~fold(sum);

	memcpy(field, &checksum, sizeof(checksum));
}

void checksum_store_partial(uint8_t field[2], uint64_t sum)
{
	uint16_t folded = fold(sum);

	memcpy(field, &folded, sizeof(folded));
}
