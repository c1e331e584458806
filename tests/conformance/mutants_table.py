# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
"""Faults for tests/conformance/mutants, anchored by text that must be there exactly once."""

import collections

# first: names of behaviours that ought to see it, or a test's path; units: the folder of tests/unit that knows the file
Mutant = collections.namedtuple("Mutant", "name file old new first units")
MUTANTS = []


def fault(name, file, old, new, first=".", units=None):
    MUTANTS.append(Mutant(name, file, old, new, first, units or file.split("/")[-2 if "/" in file else 0]))


# The gate and the ordered checks.

INNER, VIEW, VIEW_H = (f"dataplane/stage/{name}" for name in ("inner.c", "ip_view.c", "ip_view.h"))
fault("source address not checked", INNER, "!client_owns(c, view->family, ip_view_src(view, ip))", "false", "^6 ")
fault("multicast goes on", INNER, "unlikely(ip_is_multicast(view->family, dst))", "false", "^7 ")
fault("other clients' addresses can be reached", INNER, "unlikely(ip_is_tunnel(view->family, dst))", "false", "^8 ")
fault("ICMP errors of clients pass", INNER, "unlikely(ip_view_icmp(view, ip, &quote) == IP_ICMP_ERROR)", "false", "^55 ")
fault("1281 bytes pass", INNER, "m->data_len > DP_INNER_SIZE_MAX ?", "m->data_len > DP_INNER_SIZE_MAX + 1 ?", "^4 ")
fault("padding stays", INNER, "rte_pktmbuf_trim(m, (uint16_t)(m->data_len - claimed));", "", "^9 ")
fault("p2p control of 7 bytes", INNER, "P2P_SIZE_MIN = 40 + 8", "P2P_SIZE_MIN = 40 + 7", "^70 ")
fault("MF is ignored", VIEW, "& 0x3fff) != 0", "& 0x1fff) != 0", "^1 ")
fault("M of an IPv6 fragment is ignored", VIEW, "& 0xfff9) != 0", "& 0xfff8) != 0", "^2 ")
fault("atomic fragments are dropped", VIEW, "(read_u16(ip + at + 2) & 0xfff9) != 0", "true", "^2 ")
fault("a UDP length that is too short passes", VIEW, "read_u16(l4 + 4) != size", "read_u16(l4 + 4) > size", "^3 ")
fault("echo with a code is an echo", VIEW, "	if (icmp[1] != 0)\n		return false;\n	return family", "	return family")
fault("the tunnel range is a /10", VIEW_H, "(addr[1] & 0xe0) == 64", "(addr[1] & 0xc0) == 64", "^30 ")

# Errors of ours.

ERROR = "dataplane/stage/icmp_error.c"
fault("prohibited v4 has another code", ERROR, "{3, 13, 1, 1,", "{3, 10, 1, 1,", "^26 ")
fault("prohibited v6 has another code", ERROR, "{3, 13, 1, 1,", "{3, 13, 1, 0,", "^26 ")
fault("unreachable has another code", ERROR, "[ICMP_ANSWER_NETWORK] = {3, 0, 1, 3,", "[ICMP_ANSWER_NETWORK] = {3, 0, 1, 0,", "^29 ")
fault("errors leave with TTL 64", ERROR, "HOP_LIMIT_GATEWAY = 20", "HOP_LIMIT_GATEWAY = 64", "^26 ")
fault("too big says 1279", ERROR, "MTU = DP_INNER_SIZE_MAX,", "MTU = DP_INNER_SIZE_MAX - 1,", "^56 ")
fault("errors quote 7 bytes", ERROR, "V4_QUOTE_TAIL = 8", "V4_QUOTE_TAIL = 7", "^26 ")
fault("time exceeded comes from the destination", ERROR, "source = a->bytes;", "source = NULL;", "^14 ")
fault("errors without a limit", ERROR, "!client_icmp_take(c, w->now, w->icmp_interval_tsc)", "false", "^27 ")

# Flows, judgement, rewriting.

STAGE, CLASSIFY = "dataplane/stage/stage.h", "dataplane/stage/classify.c"
IN, OUT = "dataplane/stage/nat_in.c", "dataplane/stage/nat_out.c"
fault("a flow outlives its authorization", STAGE, " && now < f->expires_tsc;", ";", "^59 ")
fault("a flow keeps its former policy", STAGE, "f->policy_generation == generation", "f->policy_generation != 0", "^24 ")
fault("replies are not judged", IN, "if (batch->is_error[at]\n", "if (true || batch->is_error[at]\n", "^2[34] ")
fault("errors about a flow are judged", IN, "if (batch->is_error[at]\n		    ||", "if (false\n		    ||", "^53 ")
fault("LAN packets from tunnel addresses", IN, "ip_is_tunnel(view->family, ip_view_src(view, ip))", "false", "^1.3 ")
fault("errors quote what was on the LAN", IN, "	quote_rewrite(ip + view->l4 + ICMP_SIZE, quote, f, c);\n", "", "^51 ")
fault("too big to who allows fragments", IN, "is_error || (is_v4 && (ip[6] & V4_DONT_FRAGMENT) == 0)", "is_error", "^56 ")
fault("too big about an error", IN, "is_error || (is_v4 && (ip[6] & V4_DONT_FRAGMENT) == 0)", "is_v4 && (ip[6] & V4_DONT_FRAGMENT) == 0", "^5[36] ")
fault("TTL stays, to the client", IN, "	memcpy(before, ip + V4_TTL, 2);\n	ip[V4_TTL]--;\n", "	memcpy(before, ip + V4_TTL, 2);\n", "^24 ")
fault("TTL stays, to the LAN", OUT, "	ip[V4_TTL]--;\n", "", "^14 ")
fault("hop limit stays, to the LAN", OUT, "	ip[V6_HOP_LIMIT]--;\n", "", "^14 ")
fault("TTL 1 goes on", OUT, ": V6_HOP_LIMIT] <= 1", ": V6_HOP_LIMIT] <= 0", "^14 ")
fault("CE marks what cannot know it", OUT, "outer == ECN_CE && inner != ECN_NOT_ECT", "outer == ECN_CE", "^57 ")
fault("UDP without a checksum gets one", OUT, "if (l4[6] != 0 || l4[7] != 0)", "if (true)", "^75 ")
fault("L4 checksums are not verified", OUT, "unlikely(!csum_l4_is_ok(view, ip))", "false", "^76 ")
fault("a changed port is not in the checksum", CLASSIFY, "l4 = csum_delta_words(l4, &f->sport, &f->nat_port, 1);", ";", "^74 ")
fault("checksums may become 0", "dataplane/stage/checksum.h", "	if (c == 0)\n		c = 0xffff;\n", "")
fault("a refused packet holds a port", CLASSIFY, "f == NULL && !nat_out_check(w, b, i)", "false", "^76 ")
fault("ECN stays inside", "dataplane/stage/encrypt.c", "(ip[0] >> 4 == 4 ? ip[1] : ip[1] >> 4) & 3;", "0;", "^58 ")
fault("DSCP gets out", "dataplane/stage/encrypt.c", "(ip[0] >> 4 == 4 ? ip[1] : ip[1] >> 4) & 3;", "ip[1];", "^58 ")
fault("TCP flows end after two minutes", "dataplane/flow/flow_timer.c", "TTL_TCP = 7440", "TTL_TCP = 120", "^24 ")

# Policies.

CANON, TABLE, JUDGE = "acl/acl_canon.c", "acl/acl_table.c", "acl/acl_classify.c"
fault("a range ends one port late", TABLE, "f->port_last) + 1,", "f->port_last) + 2,", "^17 ", "acl")
fault("a range begins one port late", TABLE, "ACL_PORT_BITS | f->port_first,", "ACL_PORT_BITS | (f->port_first + 1),", "^17 ", "acl")
fault("ranges merge over a gap", CANON, "> last->port_last + 1)", "> last->port_last + 2)", "^17 ", "acl")
fault("icmp means echo", TABLE, "{ACL_CLASS_ICMP_ECHO, ACL_CLASS_ICMP_OTHER}", "{ACL_CLASS_ICMP_ECHO, ACL_CLASS_ICMP_ECHO}", "^19 ", "acl")
fault("no filters means no other protocols", TABLE, ".end = (CLASS_LAST + 1u) << ACL_PORT_BITS", ".end = CLASS_LAST << ACL_PORT_BITS", "^15 ", "acl")
fault("a narrow network hides the wide one", JUDGE, "net = t->nets[net].parent", "net = ACL_NET_NONE", "^21 ", "acl")
fault("link-local is on the Internet", JUDGE, "	V4(169, 254, 0, 0, 16),\n", "", "^29 ", "acl")
fault("172.16/12 is a /16", JUDGE, "V4(172, 16, 0, 0, 12)", "V4(172, 16, 0, 0, 16)", "^29 ", "acl")
fault("proxy addresses are on the Internet", JUDGE, "	V4(100, 96, 0, 0, 11),\n", "", "^30 ", "acl")
fault("CIDR counts beside the Internet", TABLE, "bool dns_only = has_internet(canon);", "bool dns_only = false;", "^31 ", "acl")
fault("an expired resource still permits", JUDGE, "return policy_walk(policy, key, now);", "return verdict;", "^59 ", "acl")
fault("an expired resource hides others", JUDGE, "return policy_walk(policy, key, now);", "return ACL_VERDICT_PROHIBITED;", "^59 ", "acl")

# Authorizations.

ACCESS, SNAPSHOT = "control/access/access.c", "control/access/snapshot.c"
fault("repeating keeps the expiry", ACCESS, "	*old = *g;\n", "	g->expires = old->expires;\n	*old = *g;\n", "^60 ")
fault("repeating changes the network", ACCESS, "	g->prefix = old->prefix;\n", "", "^60 ")
fault("an update reaches one client", ACCESS, "		rc = filters_replace(a, c, g, resource);\n", "		if (i > 0)\n			break;\n		rc = filters_replace(a, c, g, resource);\n", "^24 ")
fault("an update is not handed over", ACCESS, "	free(old.filters);\n	policy_hand_over(a, c, policy);", "	free(old.filters);\n	(void)policy;", "^24 ")
fault("init keeps what it omits", SNAPSHOT, "			grant_remove(c, g);\n			is_reduced = true;\n", "			continue;\n", "^67 ")
fault("init keeps the former expiry", SNAPSHOT, "			g->expires = g->listed_expires;\n", "", "^67 ")
fault("other addresses, the same client", ACCESS, "		client_remove(a, c);\n		c = NULL;", "		c->pub.ipv4 = grant->ipv4;\n		c->pub.ipv6 = grant->ipv6;", "^65 ")
fault("without resources a client stays", ACCESS, "	grant_remove(c, g);\n	if (c->n_grants == 0)\n		client_remove(a, c);\n	else\n", "	grant_remove(c, g);\n", "^62 ")
fault("an expiry that has passed is never", ACCESS, "	__int128 ns = (__int128)unix_s * (int64_t)CLOCK_NS_PER_S + unix_to_boot_ns;\n", "	__int128 ns = (__int128)unix_s * (int64_t)CLOCK_NS_PER_S + unix_to_boot_ns;\n\n	if (ns < (__int128)clock_boot_ns())\n		return UINT64_MAX;\n", "^61 ")
fault("expiry a second late", ACCESS, "(__int128)unix_s * (int64_t)CLOCK_NS_PER_S", "((__int128)unix_s + 1) * (int64_t)CLOCK_NS_PER_S", "^59 ")

# The rest of the control core.

fault("served without a path", "control/gateway/portal.c", "!relay_is_usable(gw) && kernel_wan_addrs(gw->kernel, hosts) == 0", "false", "tests/conformance/no_relays_test")
fault("no goodbye", "control/gateway/gateway.c", "connection_has_path(conn) && !client->is_static", "false", "^6[279] ")
fault("no filters where filters are missing", "control/portal/shared_schema.c", "	RESOURCE_PREFIX,\n	RESOURCE_FILTERS(0),", "	RESOURCE_PREFIX,\n	RESOURCE_FILTERS(SCHEMA_OPTIONAL),", "tests/functional/portal_messages_test")
fault("1201 bytes of DNS over UDP", "control/names/message.h", "DNS_UDP_REPLY_SIZE = 1200", "DNS_UDP_REPLY_SIZE = 1201", "^11 ")
fault("any response of a nameserver will do", "control/names/forwarder.c", "x == NULL || !dns_response_matches(&x->head, data, size)", "x == NULL", "^11 ")
fault("the latest round trip counts", "control/names/forwarder.c", "now - x->began < server->rtt", "now - x->began != server->rtt", "^11 ")
fault("the first nameserver that answers is asked", "control/names/forwarder.c", "if (f->servers[i].rtt < rtt) {", "if (best == NULL && f->servers[i].rtt < rtt) {", "^11 ")
