// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#pragma once

#include <stdint.h>

/**
 * Where a burst's cycles go: compiled in only for perf/bench (SALLYPORT_PROBE), nothing otherwise.
 *
 * PROBE(w, name) after a stage adds the cycles since the last PROBE to that name. About 25 cycles
 * each, per burst and not per packet.
 *
 * Thread-safety: the worker's thread.
 */

/** Every stretch of the path, in the order in which a packet meets them; "rest" is the loop itself. */
#define PROBES(X)                                                                                  \
	X(rest)                                                                                    \
	X(rx)                                                                                      \
	X(demux)                                                                                   \
	X(open_check)                                                                              \
	X(open_aead)                                                                               \
	X(open_effects)                                                                            \
	X(inner)                                                                                   \
	X(classify)                                                                                \
	X(checksums)                                                                               \
	X(route)                                                                                   \
	X(nat_out)                                                                                 \
	X(forward)                                                                                 \
	X(nat_in)                                                                                  \
	X(seal_prepare)                                                                            \
	X(seal_aead)                                                                               \
	X(seal_finish)                                                                             \
	X(tx)

enum probe_name {
#define PROBE_ENUM(name) PROBE_##name,
	PROBES(PROBE_ENUM)
#undef PROBE_ENUM
	PROBE_COUNT,
};

struct probe {
	uint64_t last_tsc;
	uint64_t cycles[PROBE_COUNT];
};

#ifdef SALLYPORT_PROBE
#include <rte_cycles.h>

static inline void probe_mark(struct probe *p, enum probe_name name)
{
	uint64_t now = rte_rdtsc();

	p->cycles[name] += now - p->last_tsc;
	p->last_tsc = now;
}

#define PROBE(w, name) probe_mark(&(w)->probe, PROBE_##name)
#else
#define PROBE(w, name)                                                                             \
	do {                                                                                       \
	} while (0)
#endif
