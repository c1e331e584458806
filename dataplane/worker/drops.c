// SPDX-License-Identifier: Apache-2.0
// Copyright 2026 The Sallyport authors

#include "dataplane/worker/drops.h"

static const char *const drop_names[] = {
#define X(name, text) [DROP_##name] = #name,
	DROP_REASONS(X)
#undef X
};

static const char *const drop_texts[] = {
#define X(name, text) [DROP_##name] = text,
	DROP_REASONS(X)
#undef X
};

const char *drop_reason_name(enum drop_reason reason)
{
	return reason < DROP_REASON_COUNT ? drop_names[reason] : "unknown";
}

const char *drop_reason_text(enum drop_reason reason)
{
	return reason < DROP_REASON_COUNT ? drop_texts[reason] : "no such reason";
}
