#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
#
# The lab for programs that are portal and clients at once. Source it, then: conformance_run PROGRAM
# shellcheck source=tests/lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lib.sh"
# shellcheck source=tests/functional/tap.sh
. "$LAB_TOP/tests/functional/tap.sh"

# conformance_run ICMP_RATE PROGRAM [ARGUMENTS...]: the program makes the portal, then the gateway
# starts, with its process id in gateway.pid. CONFORMANCE_EDIT: sed for its configuration.
conformance_run() {
	local rate=$1
	shift
	lab_up || exit 1
	# The LAN's router says nothing by itself about packets that end at it.
	ip -n lan route add blackhole default && ip -n lan -6 route add blackhole default || exit 1
	sed -e "s|ICMP_RATE|$rate|; s|LAB_DIR|$LAB_DIR|" -e "${CONFORMANCE_EDIT:-}" "$LAB_TOP/tests/conformance/gateway.yaml" >conformance.yaml
	rm -f portal.ready
	{
		wait_for 20 test -e portal.ready
		LAB_CONFIG=conformance.yaml
		lab_start_gateway || echo 'gateway did not come up' >&2
		echo "$gateway_pid" >gateway.pid
		# Its parent must not end before it: the namespace's first process would have to reap it.
		wait "$gateway_pid"
	} &
	tap_program /usr/bin/python3 "$@"
}
