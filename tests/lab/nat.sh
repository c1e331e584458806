#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
#
# NATs, relays and a second gateway for the lab; source it after lib.sh.
#
#   client ---------- [client-nat ----] internet ---------- [---- gateway-nat] ---- gateway ---- lan
#   198.51.100.130    198.51.100.30     portal 203.0.113.1  203.0.113.30    203.0.113.130
#   2001:db8:51:1::2  2001:db8:51::30   relays .101 .102    2001:db8:113::30  2001:db8:113:1::2
#                                       coturn .103
#
# A NAT is a namespace with nftables. What is in brackets is there after nat_client or nat_gateway
# with one of these kinds:
#
#   none        the wire of lib.sh, IPv4 and IPv6
#   v6only      the same without IPv4
#   restricted  one outside port per inside port; lets in who was sent to, by address and port
#   symmetric   another random outside port for each destination
#   cone        one outside port per inside port, 52625 open to everyone (full cone)
#   double      restricted behind restricted
#   dual        symmetric; and IPv6 without translation, behind a firewall that lets in answers only
#
# There is no IPv6 behind the others. Each leg's documentation prefix is split: the first half of the
# addresses is outside, then come the net behind a NAT and, from .192, the one between two NATs.
# shellcheck disable=SC2034
set -u

WAN_NS=internet

# nat_rules NAMESPACE KIND [INSIDE]: turns the forwarding host into a NAT from in0 to out0.
nat_rules() {
	local how=masquerade open=
	case "$2" in
	symmetric | dual) how='masquerade fully-random' ;;
	cone) open="udp dport 52625 dnat to $3" ;;
	esac
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
		table ip6 firewall {
			chain forward { type filter hook forward priority filter; iifname out0 ct state new drop; }
		}
	EOF
}

nat_ns() {
	ip netns add "$1"
	ip -n "$1" link set lo up
	in_ns "$1" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
}

nat_gone() {
	local ns
	for ns in "$@"; do
		ip netns del "$ns" 2>/dev/null
	done
}

# nat_host NAMESPACE DEVICE ADDRESS/LEN GATEWAY: an address and the default route of its family.
nat_host() {
	local dad=
	[[ "$3" != *:* ]] || dad=nodad
	ip -n "$1" link set "$2" up
	ip -n "$1" addr add "$3" dev "$2" $dad
	ip -n "$1" route add default via "$4"
}

# nat_router NAMESPACE KIND PREFIX HOST OUTSIDE GATEWAY: rules and addresses of a host between in0,
# where HOST is, and out0.
nat_router() {
	nat_host "$1" out0 "$5" "$6"
	ip -n "$1" link set in0 up
	ip -n "$1" addr add "$3" dev in0
	nat_rules "$1" "$2" "$4"
}

# nat_route6 NAMESPACE PREFIX HOST GATEWAY DEVICE: it routes PREFIX::/64; in the internet, DEVICE leads
# to HOST, its outside.
nat_route6() {
	in_ns "$1" sysctl -qw net.ipv6.conf.all.forwarding=1
	nat_host "$1" out0 "$3/64" "$4"
	ip -n "$1" addr add "$2::1/64" dev in0 nodad
	ip -n internet route replace "$2::/64" via "$3" dev "$5"
}

# nat_inner NAMESPACE NET: puts the inner NAT of two in place; its in0 and out0 exist.
nat_inner() {
	nat_router "$1" restricted "$2.129/26" '' "$2.194/26" "$2.193"
}

# nat_client KIND: puts the client behind it, or onto the wire again. The client must not run.
nat_client() {
	local net=198.51.100
	nat_gone client-nat client-nat2
	ip -n client link del eth0 2>/dev/null
	ip -n internet link del to-client 2>/dev/null
	case "$1" in
	none | v6only) ip -n client link add eth0 type veth peer name to-client netns internet ;;
	double)
		nat_ns client-nat
		nat_ns client-nat2
		ip -n client-nat link add out0 type veth peer name to-client netns internet
		ip -n client-nat2 link add out0 type veth peer name in0 netns client-nat
		ip -n client link add eth0 type veth peer name in0 netns client-nat2
		;;
	*)
		nat_ns client-nat
		ip -n client-nat link add out0 type veth peer name to-client netns internet
		ip -n client link add eth0 type veth peer name in0 netns client-nat
		;;
	esac
	# A capture shows datagrams as they leave, not the trains that UDP_SEGMENT makes of them.
	[ -z "${LAB_CAPTURES:-}" ] || ip -n client link set eth0 gso_max_segs 1
	ip -n internet addr add "$net.1/25" dev to-client
	ip -n internet addr add 2001:db8:51::1/64 dev to-client nodad
	ip -n internet link set to-client up
	case "$1" in
	none | v6only)
		[ "$1" = v6only ] || nat_host client eth0 "$net.20/25" "$net.1"
		nat_host client eth0 2001:db8:51::20/64 2001:db8:51::1
		return
		;;
	double)
		nat_router client-nat restricted "$net.193/26" '' "$net.30/25" "$net.1"
		nat_inner client-nat2 "$net"
		;;
	*) nat_router client-nat "$1" "$net.129/26" "$net.130" "$net.30/25" "$net.1" ;;
	esac
	nat_host client eth0 "$net.130/26" "$net.129"
	if [ "$1" = dual ]; then
		nat_route6 client-nat 2001:db8:51:1 2001:db8:51::30 2001:db8:51::1 to-client
		nat_host client eth0 2001:db8:51:1::2/64 2001:db8:51:1::1
	fi
}

# nat_config KIND: the gateway's configuration behind it.
nat_config() {
	local v4='203.0.113.130/26' via4='203.0.113.129' v6='"2001:db8:113:1::2/64"' via6='2001:db8:113:1::1'
	local -a edit=()
	case "$1" in
	v6only) edit=(-e 's|addresses: \[203.0.113.10/25, |addresses: [|' -e '/via: 203.0.113.1}/d') ;;
	dual) edit=(-e "s|addresses: \[203.0.113.10/25, .*|addresses: [$v4, $v6]|" -e "s|via: 203.0.113.1}|via: $via4}|" -e "s|via: \"2001:db8:113::1\"|via: \"$via6\"|") ;;
	*) edit=(-e "s|addresses: \[203.0.113.10/25, .*|addresses: [$v4]|" -e "s|via: 203.0.113.1}|via: $via4}|" -e '/2001:db8:113::1/d') ;;
	esac
	sed "${edit[@]}" gateway.yaml >gateway-nat.yaml
}

# nat_gateway KIND: the same for the gateway's WAN wire. The gateway must not run. Its in0 is a bridge,
# so that the gateway's wire can come and go.
nat_gateway() {
	local net=203.0.113
	nat_gone gateway-nat gateway-nat2
	ip -n internet link del to-gateway-nat 2>/dev/null
	WAN_NS=internet
	LAB_CONFIG=gateway.yaml
	[ "$1" = none ] && return
	LAB_CONFIG=gateway-nat.yaml
	nat_config "$1"
	[ "$1" = v6only ] && return
	WAN_NS=gateway-nat
	nat_ns gateway-nat
	ip -n gateway-nat link add out0 type veth peer name to-gateway-nat netns internet
	ip -n internet link set to-gateway-nat master wan
	ip -n internet link set to-gateway-nat up
	if [ "$1" = double ]; then
		WAN_NS=gateway-nat2
		nat_ns gateway-nat2
		ip -n gateway-nat2 link add out0 type veth peer name in0 netns gateway-nat
		ip -n gateway-nat2 link add in0 type bridge
		nat_router gateway-nat restricted "$net.193/26" '' "$net.30/25" "$net.1"
		nat_inner gateway-nat2 "$net"
		return
	fi
	ip -n gateway-nat link add in0 type bridge
	nat_router gateway-nat "$1" "$net.129/26" "$net.130" "$net.30/25" "$net.1"
	[ "$1" != dual ] || nat_route6 gateway-nat 2001:db8:113:1 2001:db8:113::30 2001:db8:113::1 wan
}

# As in lib.sh, but where the WAN wire ends depends.
lab_wires() {
	local bridge=wan
	[ "$WAN_NS" = internet ] || bridge=in0
	wait_for 20 log_more "$1" 'data plane up' "$2" || return 1
	lab_wire wire-wan "$WAN_NS" "$bridge" && lab_wire wire-lan lan lan
}

# nat_policy relays|turn: the lab's policy with relays and a second gateway, in a file that LAB_POLICY names;
# with `turn` the relay is coturn.
nat_policy() {
	LAB_POLICY=$LAB_DIR/nat-policy.yaml
	sed 's|^clients:|  - {name: gw-2, site: lab, token: gateway2-token}\nclients:|' "$LAB_TOP/tests/lab/policy.yaml" >"$LAB_POLICY"
	if [ "$1" = turn ]; then
		cat >>"$LAB_POLICY" <<-EOF
			turn:
			  - address: [203.0.113.103:3478, "[2001:db8:113::103]:3478"]
			    username: $COTURN_USERNAME
			    password: $(coturn_password)
		EOF
	else
		printf 'relays:\n  - {name: relays, token: relay-token}\n' >>"$LAB_POLICY"
	fi
}

# nat_up: after lab_up. The legs' outside is half of their prefix here.
nat_up() {
	# A bridge takes the MAC of one of its ports unless it has its own: the hosts on it would change
	# theirs whenever a gateway comes or goes.
	ip -n internet link set wan address 02:00:00:00:00:01
	ip -n lan link set lan address 02:00:00:00:00:02
	ip -n internet addr del 203.0.113.1/24 dev wan
	ip -n internet addr add 203.0.113.1/25 dev wan
	sed -i 's|203.0.113.10/24|203.0.113.10/25|' gateway.yaml
	nat_client none
}

declare -A relay_pids=()

# nat_start_relay N: relay N of 1 and 2, in the internet.
nat_start_relay() {
	local v4=203.0.113.10$1 v6=2001:db8:113::10$1 before
	ip -n internet addr replace "$v4/25" dev wan
	ip -n internet addr replace "$v6/64" dev wan nodad
	before=$(log_count "relay$1.log" 'joined')
	PUBLIC_IP4_ADDR=$v4 PUBLIC_IP6_ADDR=$v6 BIND_IP4_ADDR=$v4 BIND_IP6_ADDR=$v6 \
		HEALTH_CHECK_ADDR=127.0.0.1:809$1 FIREZONE_API_URL=$PORTAL_URL FIREZONE_TOKEN=relay-token FIREZONE_NAME=relay-$1 \
		ip netns exec internet "$LAB_BUILD/peers/relay/sallyport-relay" >>"relay$1.log" 2>&1 &
	relay_pids[$1]=$!
	wait_for 10 log_more "relay$1.log" 'joined' "$before"
}

# What coturn's --use-auth-secret derives from a user name, whose first part is its expiry: base64 of
# HMAC-SHA1.
COTURN_SECRET=lab-secret
COTURN_USERNAME=2145916800:lab
coturn_password() {
	printf %s "$COTURN_USERNAME" | openssl dgst -sha1 -hmac "$COTURN_SECRET" -binary | base64
}

# nat_start_coturn: a TURN server that nobody here wrote, in the internet. Its realm is the one that
# peers insist on. It gives up an allocation when the kernel has no route to one of its peers, and those
# behind a NAT are peers with their inner addresses too: so all that has no route goes nowhere.
nat_start_coturn() {
	local v4=203.0.113.103 v6=2001:db8:113::103
	ip -n internet link add nowhere type bridge
	ip -n internet link set nowhere arp off up
	ip -n internet route add default dev nowhere
	ip -n internet -6 route add default dev nowhere
	ip -n internet addr replace "$v4/25" dev wan
	ip -n internet addr replace "$v6/64" dev wan nodad
	ip netns exec internet turnserver -n --listening-ip="$v4" --listening-ip="$v6" --relay-ip="$v4" --relay-ip="$v6" \
		--realm=firezone --use-auth-secret --static-auth-secret="$COTURN_SECRET" --no-tcp --no-tls --no-dtls --no-cli \
		--log-file=stdout --simple-log --pidfile="$LAB_DIR/coturn.pid" --userdb="$LAB_DIR/coturn.db" >>coturn.log 2>&1 &
	coturn_pid=$!
	wait_for 10 coturn_listens
}

coturn_listens() {
	in_ns internet ss -Hlun 'sport = :3478' | grep -q '2001:db8:113::103'
}

# nat_start_gateway2: another gateway of the site, in a namespace of its own on the same wires.
nat_start_gateway2() {
	local before starts
	[ -e /run/netns/gateway2 ] || nat_ns gateway2
	sed -e 's|net_tap0,iface=wire-wan|net_tap0,iface=wire-wan2|' -e 's|net_tap1,iface=wire-lan|net_tap1,iface=wire-lan2|' \
		-e 's|203.0.113.10/25|203.0.113.11/25|' -e 's|2001:db8:113::10/64|2001:db8:113::11/64|' \
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
