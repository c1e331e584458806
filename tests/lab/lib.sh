#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
#
# The lab: four network namespaces and the real programs in them.
#
#   client ------- internet -------- gateway ------- lan
#   198.51.100.20  .1 | 203.0.113.1  203.0.113.10 | 192.0.2.1   192.0.2.80 .81 .99
#   2001:db8:51::20  portal          2001:db8:113::10 | 2001:db8:2::1   2001:db8:2::80 ::81 ::99
#
# The gateway's two ports are net_tap devices whose kernel sides are moved into `internet` and
# `lan`: a real wire to another host. The script runs in a mount, network and process namespace of
# its own, so that nothing of it is left when it ends, however it ends.
#
# Source it, then: lab_enter "$@"; lab_up; lab_start_portal; ... See tests/lab/README.md.
# The programs' process ids are for the scripts that source this.
# shellcheck disable=SC2034
set -u

# A proxy of this machine is none for the lab's addresses.
unset http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY

LAB_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
LAB_BUILD=${LAB_BUILD:-$LAB_TOP/build}
PORTAL_URL=ws://203.0.113.1:8081
LAN4=192.0.2
LAN6=2001:db8:2:

# Re-executes the script in its own namespaces; returns only inside.
lab_enter() {
	if [ "${LAB_INSIDE:-}" != 1 ]; then
		if [ "$(id -u)" != 0 ]; then
			echo "needs root: network namespaces and TAP devices" >&2
			exit 77
		fi
		mkdir -p /run/netns /run/lock
		LAB_DIR=$(mktemp -d /tmp/sallyport-lab.XXXXXX)
		export LAB_DIR LAB_INSIDE=1
		# The outer shell waits, so that signals reach the inner one and the files go away after it.
		unshare --mount --net --pid --fork --kill-child --mount-proc "$0" "$@" &
		lab_child=$!
		trap 'kill -TERM "$lab_child" 2>/dev/null' INT TERM HUP
		lab_rc=0
		wait "$lab_child" || lab_rc=$?
		while kill -0 "$lab_child" 2>/dev/null; do
			wait "$lab_child" || lab_rc=$?
		done
		[ ! -e "$LAB_DIR/pages" ] || lab_pages_add "-$(cat "$LAB_DIR/pages")"
		if [ -n "${LAB_KEEP:-}" ]; then
			echo "logs: $LAB_DIR"
		else
			rm -rf "$LAB_DIR"
		fi
		exit "$lab_rc"
	fi
	mount -t tmpfs tmpfs /run/netns
	mkdir -p /run/dpdk && mount -t tmpfs tmpfs /run/dpdk
	trap 'exit 130' INT TERM HUP
	cd "$LAB_DIR" || exit 1
}

in_ns() {
	local ns=$1
	shift
	ip netns exec "$ns" "$@"
}

# wait_for SECONDS COMMAND...: until the command succeeds; non-zero when time is up.
wait_for() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -ge "$deadline" ] && return 1
		sleep 0.05
	done
}

# now_ms: milliseconds, for durations that a person reads.
now_ms() {
	date +%s%3N
}

# log_count FILE PATTERN: how many lines match so far.
log_count() {
	touch "$1"
	grep -c -E -- "$2" "$1" || true
}

# log_more FILE PATTERN N: whether more than N lines match by now.
log_more() {
	[ "$(log_count "$1" "$2")" -gt "$3" ]
}

lab_up() {
	local ns
	for ns in client internet gateway lan; do
		ip netns add "$ns"
		ip -n "$ns" link set lo up
		in_ns "$ns" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	done
	in_ns internet sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1

	ip -n client link add eth0 type veth peer name to-client netns internet
	ip -n client addr add 198.51.100.20/24 dev eth0
	ip -n client addr add 2001:db8:51::20/64 dev eth0 nodad
	ip -n client link set eth0 up
	ip -n internet addr add 198.51.100.1/24 dev to-client
	ip -n internet addr add 2001:db8:51::1/64 dev to-client nodad
	ip -n internet link set to-client up
	ip -n client route add default via 198.51.100.1
	ip -n client route add default via 2001:db8:51::1

	# The gateway's wires end in bridges, which are there before and after the gateway runs.
	ip -n internet link add wan type bridge
	ip -n internet addr add 203.0.113.1/24 dev wan
	ip -n internet addr add 2001:db8:113::1/64 dev wan nodad
	ip -n internet link set wan up
	ip -n lan link add lan type bridge
	for ns in 80 81 99; do
		ip -n lan addr add "$LAN4.$ns/24" dev lan
		ip -n lan addr add "$LAN6:$ns/64" dev lan nodad
	done
	ip -n lan link set lan up
	lab_hugepages
}

# lab_wire DEVICE NAMESPACE BRIDGE: the kernel side of a gateway port becomes a wire.
lab_wire() {
	# net_tap gives its kernel side the port's own MAC; two hosts on a wire need two.
	ip -n gateway link set "$1" netns "$2" || return 1
	ip -n "$2" link set "$1" address "02:00:00:00:01:$((RANDOM % 90 + 10))" || return 1
	ip -n "$2" link set "$1" master "$3" || return 1
	ip -n "$2" link set "$1" up
}

# lab_wires LOG N: connects both ports once the gateway has started them for the N+1st time (net_tap
# starts a port through its kernel side).
lab_wires() {
	wait_for 20 log_more "$1" 'data plane up' "$2" || return 1
	lab_wire wire-wan internet wan && lab_wire wire-lan lan lan
}

lab_start_lan() {
	local i
	head -c 104857600 /dev/urandom >blob
	sha256sum blob | cut -d ' ' -f 1 >blob.sha256
	ip netns exec lan /usr/bin/python3 "$LAB_TOP/tests/lab/httpd.py" 80 blob >httpd.log 2>&1 &
	ip netns exec lan /usr/bin/python3 "$LAB_TOP/tests/lab/httpd.py" 81 blob >httpd81.log 2>&1 &
	ip netns exec lan iperf3 -s >iperf3.log 2>&1 &
	for i in 80 81; do
		wait_for 10 in_ns lan curl -sf -o /dev/null "http://$LAN4.80:$i/peer" || return 1
	done
}

lab_start_portal() {
	# Not in_ns: the background process must be the program itself, for its id.
	ip netns exec internet "$LAB_BUILD/peers/portal/sallyport-portal" --log-level info "${LAB_POLICY:-$LAB_TOP/tests/lab/policy.yaml}" >>portal.log 2>&1 &
	portal_pid=$!
	wait_for 10 lab_ctl status
}

lab_ctl() {
	in_ns internet "$LAB_BUILD/peers/portal/sallyport-portal" ctl --socket "$LAB_DIR/portal.sock" "$@"
}

# lab_pages_add N: reserves N more hugepages; a negative number gives them back. Relative and one at a
# time, because labs may run side by side.
lab_pages_add() {
	(
		flock 9
		pages=$(($(cat /proc/sys/vm/nr_hugepages) + $1))
		echo "$((pages > 0 ? pages : 0))" >/proc/sys/vm/nr_hugepages
	) 9>/run/lock/sallyport-lab 2>/dev/null
}

# Reserves hugepages for the gateway, or says in one line that it runs without.
lab_hugepages() {
	local want=320 free
	cp "$LAB_TOP/tests/lab/gateway.yaml" gateway.yaml
	[ -z "${LAB_CORES:-}" ] || sed -i "s/^cores: .*/cores: $LAB_CORES/" gateway.yaml
	echo "$want" >pages
	lab_pages_add "$want"
	free=$(awk '/^HugePages_Free/ {print $2}' /proc/meminfo)
	mkdir -p hugepages
	if [ "${free:-0}" -ge "$want" ] && mount -t hugetlbfs -o pagesize=2M hugetlbfs hugepages 2>/dev/null; then
		sed -i 's/^hugepages: .*/hugepages: true/' gateway.yaml
	else
		echo "no hugepages here: the gateway runs without"
	fi
}

# lab_start_gateway: returns when it joined the portal.
lab_start_gateway() {
	local before starts
	before=$(log_count gateway.log 'portal joined')
	starts=$(log_count gateway.log 'data plane up')
	FIREZONE_API_URL=$PORTAL_URL FIREZONE_TOKEN=${GATEWAY_TOKEN:-gateway-token} FIREZONE_ID=lab-gateway-1 FIREZONE_NAME=gw-1 \
		ip netns exec gateway "$LAB_BUILD/control/gateway/sallyport-gateway" --log-level info --config "${LAB_CONFIG:-gateway.yaml}" >>gateway.log 2>&1 &
	gateway_pid=$!
	lab_wires gateway.log "$starts" || return 1
	wait_for 20 log_more gateway.log 'portal joined' "$before"
}

# lab_start_client [NAME=VALUE...]: returns when the tunnel is up.
lab_start_client() {
	local before
	before=$(log_count client.log 'tunnel up')
	env FIREZONE_API_URL=$PORTAL_URL FIREZONE_TOKEN="${CLIENT_TOKEN:-client-token}" FIREZONE_ID=lab-client-1 FIREZONE_NAME=laptop \
		FIREZONE_DNS_CONTROL=disabled FIREZONE_NO_TELEMETRY=true \
		FZFF_ICMP_ERROR_UNREACHABLE_PROHIBITED_CREATE_NEW_FLOW=true SALLYPORT_LOCAL_FILTER=false "$@" \
		ip netns exec client "$LAB_BUILD/peers/client/sallyport-client" --log-level info >>client.log 2>&1 &
	client_pid=$!
	wait_for 20 log_more client.log 'tunnel up' "$before"
}

# lab_stop PID [SIGNAL]: stops a program of ours and waits for it.
lab_stop() {
	kill "-${2:-TERM}" "$1" 2>/dev/null || return 0
	wait_for 10 lab_gone "$1"
}

lab_gone() {
	! kill -0 "$1" 2>/dev/null
}

# Data plane telemetry as DPDK serves it, e.g. lab_telemetry /sallyport/drops
lab_telemetry() {
	/usr/bin/python3 "$LAB_TOP/tests/lab/telemetry.py" "$@"
}

# drops NAME: one drop counter.
drops() {
	lab_telemetry /sallyport/drops | jq -r --arg n "$1" '.[$n]'
}

# curl from the client, with a time limit that a refusal never needs.
client_curl() {
	in_ns client curl -sS --max-time "${CURL_MAX:-10}" "$@"
}

lab_logs() {
	local f
	for f in portal gateway client; do
		echo "--- $f.log"
		tail -n "${1:-40}" "$f.log" 2>/dev/null
	done
}
