#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
#
# A connection over a bad network, made bad by the command given; sourced by loss_test and delay_test.
# shellcheck source=tests/lab/lib.sh
. "$(dirname "$0")/../lab/lib.sh"
# shellcheck source=tests/functional/tap.sh
. "$LAB_TOP/tests/functional/tap.sh"

connect() {
	local t0
	t0=$(now_ms)
	wait_for "$1" client_curl -f -o /dev/null "http://$LAN4.80/peer" || { echo "not connected within $1 s"; return 1; }
	echo "after $(($(now_ms) - t0)) ms"
}

download() {
	in_ns client /usr/bin/python3 "$LAB_TOP/tests/lab/fetch.py" "http://$1/blob" "$(cat blob.sha256)" 10000 20000000
}

# impaired CONNECT_S: from the start of the gateway to the end; the network is bad already.
impaired() {
	tap_run 'portal' lab_start_portal || tap_end
	tap_run 'gateway' lab_start_gateway || { lab_logs 40; tap_end; }
	tap_run 'client' lab_start_client || { lab_logs 40; tap_end; }
	tap_step 'connected' connect "$1"
	tap_step 'a download comes through' download "$LAN4.80"
	tap_step 'directly, and never by another connection' [ "$(log_count client.log 'connection established.* path=direct')" = 1 ]
}
