#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
#
# NATs, relays and a second gateway for the lab; source it after lib.sh.
#
#   client ---- [client-nat ----] internet (portal, relays .101 .102) [---- gateway-nat] ---- gateway ---- lan
#   10.66.0.20  198.51.100.30                                           203.0.113.30      10.77.0.10
#
# A NAT is a namespace with nftables. What is in brackets is there after nat_client or nat_gateway
# with one of these kinds:
#
#   none        the wire of lib.sh
#   restricted  one outside port per inside port; lets in who was sent to, by address and port
#   symmetric   another random outside port for each destination
#   cone        one outside port per inside port, 52625 open to everyone
#   double      restricted behind restricted
#
# Behind a NAT there is only IPv4. nat_client v6only takes IPv4 away instead.
# shellcheck disable=SC2034
set -u

WAN_NS=internet

# nat_rules NAMESPACE KIND [INSIDE]: turns the forwarding host into a NAT from in0 to out0.
nat_rules() {
	local how=masquerade open=
	[ "$2" = symmetric ] && how='masquerade fully-random'
	[ "$2" = cone ] && open="udp dport 52625 dnat to $3"
	in_ns "$1" sysctl -qw net.ipv4.ip_forward=1
	# What comes unasked is dropped before it leaves a trace: a connection entry of its own would take
	# the port away from the mapping that is about to be made.
	in_ns "$1" nft -f - <<-EOF
		table ip nat {
			chain prerouting { type nat hook prerouting priority dstnat; iifname out0 $open; }
			chain postrouting { type nat hook postrouting priority srcnat; oifname out0 $how; }
			chain input { type filter hook input priority filter; iifname out0 ct state new meta l4proto udp drop; }
			chain forward { type filter hook forward priority filter; ct status dnat accept; iifname out0 ct state new drop; }
		}
	EOF
}

# nat_box NAMESPACE INSIDE/LEN OUTSIDE/LEN GATEWAY: a host between in0 and out0, which exist.
nat_box() {
	in_ns "$1" ip addr add "$2" dev in0
	in_ns "$1" ip addr add "$3" dev out0
	in_ns "$1" ip link set in0 up
	in_ns "$1" ip link set out0 up
	in_ns "$1" ip route add default via "$4"
}

nat_ns() {
	ip netns add "$1"
	ip -n "$1" link set lo up
}

nat_gone() {
	local ns
	for ns in "$@"; do
		ip netns del "$ns" 2>/dev/null
	done
}

# nat_client KIND: puts the client behind it, or onto the wire again. The client must not run.
nat_client() {
	local outer=client
	nat_gone client-nat client-nat2
	ip -n client link del eth0 2>/dev/null
	ip -n internet link del to-client 2>/dev/null
	case "$1" in
	none | v6only) ip -n client link add eth0 type veth peer name to-client netns internet ;;
	*)
		outer=client-nat
		nat_ns client-nat
		ip -n client-nat link add out0 type veth peer name to-client netns internet
		if [ "$1" = double ]; then
			nat_ns client-nat2
			ip -n client-nat2 link add out0 type veth peer name in0 netns client-nat
			ip -n client link add eth0 type veth peer name in0 netns client-nat2
		else
			ip -n client link add eth0 type veth peer name in0 netns client-nat
		fi
		;;
	esac
	ip -n internet addr add 198.51.100.1/24 dev to-client
	ip -n internet addr add 2001:db8:51::1/64 dev to-client nodad
	ip -n internet link set to-client up
	ip -n client link set eth0 up
	if [ "$outer" = client ]; then
		if [ "$1" = none ]; then
			ip -n client addr add 198.51.100.20/24 dev eth0
			ip -n client route add default via 198.51.100.1
		fi
		ip -n client addr add 2001:db8:51::20/64 dev eth0 nodad
		ip -n client route add default via 2001:db8:51::1
		return
	fi
	ip -n client addr add 10.66.0.20/24 dev eth0
	ip -n client route add default via 10.66.0.1
	if [ "$1" = double ]; then
		nat_box client-nat 10.65.0.1/24 198.51.100.30/24 198.51.100.1
		nat_box client-nat2 10.66.0.1/24 10.65.0.20/24 10.65.0.1
		nat_rules client-nat restricted
		nat_rules client-nat2 restricted
	else
		nat_box client-nat 10.66.0.1/24 198.51.100.30/24 198.51.100.1
		nat_rules client-nat "$1" 10.66.0.20
	fi
}

# nat_gateway KIND: the same for the gateway's WAN wire. The gateway must not run.
nat_gateway() {
	nat_gone gateway-nat
	ip -n internet link del to-gateway-nat 2>/dev/null
	WAN_NS=internet
	LAB_CONFIG=gateway.yaml
	[ "$1" = none ] && return
	WAN_NS=gateway-nat
	LAB_CONFIG=gateway-nat.yaml
	sed -e 's|addresses: \[203.0.113.10/24.*|addresses: [10.77.0.10/24]|' \
		-e 's|via: 203.0.113.1}|via: 10.77.0.1}|' -e '/2001:db8:113::1/d' gateway.yaml >gateway-nat.yaml
	nat_ns gateway-nat
	ip -n gateway-nat link add out0 type veth peer name to-gateway-nat netns internet
	ip -n internet link set to-gateway-nat master wan
	ip -n internet link set to-gateway-nat up
	# in0 is a bridge, so that the gateway's wire can come and go.
	ip -n gateway-nat link add in0 type bridge
	nat_box gateway-nat 10.77.0.1/24 203.0.113.30/24 203.0.113.1
	nat_rules gateway-nat "$1" 10.77.0.10
}

# As in lib.sh, but where the WAN wire ends depends.
lab_wires() {
	local bridge=wan
	[ "$WAN_NS" = internet ] || bridge=in0
	wait_for 20 log_more "$1" 'data plane up' "$2" || return 1
	lab_wire wire-wan "$WAN_NS" "$bridge" && lab_wire wire-lan lan lan
}

# nat_policy: the lab's policy with relays and a second gateway, in a file that LAB_POLICY names.
nat_policy() {
	LAB_POLICY=$LAB_DIR/nat-policy.yaml
	sed 's|^clients:|  - {name: gw-2, site: lab, token: gateway2-token}\nclients:|' "$LAB_TOP/tests/lab/policy.yaml" >"$LAB_POLICY"
	printf 'relays:\n  - {name: relays, token: relay-token}\n' >>"$LAB_POLICY"
	# A bridge takes the MAC of one of its ports unless it has its own: the hosts on it would change
	# theirs whenever a gateway comes or goes.
	ip -n internet link set wan address 02:00:00:00:00:01
	ip -n lan link set lan address 02:00:00:00:00:02
}

declare -A relay_pids=()

# nat_start_relay N: relay N of 1 and 2, in the internet.
nat_start_relay() {
	local v4=203.0.113.10$1 v6=2001:db8:113::10$1 before
	ip -n internet addr replace "$v4/24" dev wan
	ip -n internet addr replace "$v6/64" dev wan nodad
	before=$(log_count "relay$1.log" 'joined')
	PUBLIC_IP4_ADDR=$v4 PUBLIC_IP6_ADDR=$v6 BIND_IP4_ADDR=$v4 BIND_IP6_ADDR=$v6 \
		HEALTH_CHECK_ADDR=127.0.0.1:809$1 FIREZONE_API_URL=$PORTAL_URL FIREZONE_TOKEN=relay-token FIREZONE_NAME=relay-$1 \
		ip netns exec internet "$LAB_BUILD/peers/relay/sallyport-relay" >>"relay$1.log" 2>&1 &
	relay_pids[$1]=$!
	wait_for 10 log_more "relay$1.log" 'joined' "$before"
}

# nat_start_gateway2: another gateway of the site, in a namespace of its own on the same wires.
nat_start_gateway2() {
	local before starts
	[ -e /run/netns/gateway2 ] || nat_ns gateway2
	sed -e 's|net_tap0,iface=wire-wan|net_tap0,iface=wire-wan2|' -e 's|net_tap1,iface=wire-lan|net_tap1,iface=wire-lan2|' \
		-e 's|203.0.113.10/24|203.0.113.11/24|' -e 's|2001:db8:113::10/64|2001:db8:113::11/64|' \
		-e 's|192.0.2.1/24|192.0.2.2/24|' -e 's|2001:db8:2::1/64|2001:db8:2::2/64|' \
		-e 's|^hugepages: .*|hugepages: false|' gateway.yaml >gateway2.yaml
	echo 'file_prefix: sallyport2' >>gateway2.yaml
	before=$(log_count gateway2.log 'portal joined')
	starts=$(log_count gateway2.log 'data plane up')
	FIREZONE_API_URL=$PORTAL_URL FIREZONE_TOKEN=gateway2-token FIREZONE_ID=lab-gateway-2 FIREZONE_NAME=gw-2 \
		ip netns exec gateway2 "$LAB_BUILD/control/gateway/sallyport-gateway" --log-level info --config gateway2.yaml >>gateway2.log 2>&1 &
	gateway2_pid=$!
	wait_for 20 log_more gateway2.log 'data plane up' "$starts" || return 1
	nat_wire2 wire-wan2 internet wan && nat_wire2 wire-lan2 lan lan || return 1
	wait_for 20 log_more gateway2.log 'portal joined' "$before"
}

# lab_wire, from the other namespace and with another MAC.
nat_wire2() {
	ip -n gateway2 link set "$1" netns "$2" || return 1
	ip -n "$2" link set "$1" address "02:00:00:00:02:$((RANDOM % 90 + 10))" || return 1
	ip -n "$2" link set "$1" master "$3" || return 1
	ip -n "$2" link set "$1" up
}

# fetch URL SHA256 MAX_GAP_MS [RATE]: downloads in the client, see fetch.py.
fetch() {
	in_ns client /usr/bin/python3 "$LAB_TOP/tests/lab/fetch.py" "$@"
}

# path_now: how the client reaches the gateway, e.g. direct or relay-to-peer.
path_now() {
	grep -o ' path=[a-z-]*' client.log | tail -n 1 | cut -d = -f 2
}
