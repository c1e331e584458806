#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
#
# What the lab's programs say in STUN and TURN, captured and judged by tshark, which nobody here wrote.
# Source it after lib.sh and before nat_up, which then sends datagrams as the wire would show them.
# shellcheck disable=SC2034
set -u

LAB_CAPTURES=captures
# ChannelData of a download is much of the same.
CHANNEL_DATA_MAX=20000
# Attributes that must be understood: RFC 8489 18.3, RFC 8656 18, RFC 8445 20.1.
STUN_REQUIRED=' 0x0001 0x0006 0x0008 0x0009 0x000a 0x000c 0x000d 0x0012 0x0013 0x0014 0x0015 0x0016 0x0017 0x0019 0x0020 0x0024 0x0025 '

declare -a capture_pids=()

# capture_one NAMESPACE DEVICE NAME FILTER [COUNT]
capture_one() {
	local -a count=()
	[ -z "${5:-}" ] || count=(-c "$5")
	ip netns exec "$1" tcpdump -n -U -Z root -i "$2" "${count[@]}" -w "$LAB_CAPTURES/$3.pcap" "$4" >/dev/null 2>"$LAB_CAPTURES/$3.log" &
	capture_pids+=("$!")
	wait_for 10 grep -q 'listening on' "$LAB_CAPTURES/$3.log"
}

# capture_start: at the client, at the hosts of the internet (relays, and what passes their wire to the
# gateway), and among them.
capture_start() {
	local cookie at4='udp[12:4] = 0x2112a442' at6='ip6[6] = 17 and ip6[52:4] = 0x2112a442' ns device
	cookie="(ip and $at4) or (ip6 and $at6)"
	mkdir -p "$LAB_CAPTURES"
	while read -r ns device; do
		capture_one "$ns" "$device" "stun-$ns-$device" "$cookie" || return 1
		capture_one "$ns" "$device" "channel-$ns-$device" "udp port 3478 and not ($cookie)" "$CHANNEL_DATA_MAX" || return 1
	done <<-EOF
		client any
		internet wan
		internet lo
	EOF
}

capture_stop() {
	local pid
	for pid in "${capture_pids[@]}"; do
		lab_stop "$pid" INT
	done
	capture_pids=()
}

# capture_fields FILE: per packet what the verdict needs. Every port is told to be STUN, because a NAT's
# random ports are now and then another protocol's.
capture_fields() {
	tshark -n -r "$1" -d udp.port==1-65535,stun -T fields -E occurrence=a -E aggregator=' ' -e frame.number \
		-e frame.protocols -e _ws.malformed -e _ws.expert.severity -e stun.att.crc32.status \
		-e stun.att.type -e stun.length -e stun.att.length -e stun.channel 2>/dev/null
}

# capture_judge: every packet is STUN or ChannelData, none malformed, none with an expert's remark, each
# FINGERPRINT good, no attribute that must be understood and is unknown, all lengths consistent.
capture_judge() {
	local f
	for f in "$LAB_CAPTURES"/*.pcap; do
		capture_fields "$f" | sed "s|^|${f##*/} |"
	done >"$LAB_CAPTURES/fields" || return 1
	awk -F '\t' -v known="$STUN_REQUIRED" '
		function fault(text) { if (bad++ == 0) first = ", first: " $1 ": " text }
		{ n++ }
		$1 ~ /^channel-/ { channel++ }
		$2 !~ /:stun/ { fault("not dissected: " $2) }
		$3 != "" { fault("malformed") }
		$4 != "" { fault("expert severity " $4) }
		{
			k = split($5, crc, " ")
			prints += k
			for (i = 1; i <= k; i++)
				if (crc[i] != 1) fault("FINGERPRINT status " crc[i])
			k = split($6, type, " ")
			for (i = 1; i <= k; i++)
				if ((type[i] "") < "0x8000" && !index(known, " " type[i] " ")) fault("unknown attribute " type[i])
			left = $7
			k = split($8, size, " ")
			for (i = 1; i <= k; i++)
				left -= 4 + int((size[i] + 3) / 4) * 4
			if (left != 0 && $9 == "") fault("attributes of " $7 - left " bytes in a message of " $7)
		}
		END {
			if (n < 1000 || !prints || !channel) { print "only " n + 0 " packets"; exit 1 }
			print n " packets, " channel " of them ChannelData, " prints " fingerprints good, " bad + 0 " faults" first
			exit bad > 0
		}' "$LAB_CAPTURES/fields"
}
