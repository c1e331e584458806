-- SPDX-License-Identifier: Apache-2.0
-- Copyright 2026 The Sallyport authors
--
-- Pktgen-DPDK: the LAN side in a loop at rising rates, 10 s each; read the WAN port's receive rate.
--
--   pktgen -l 0-2 -n 4 -- -P -m "1.0,2.1" -s 0:up.pcap -s 1:down.pcap -f pktgen.lua
--
-- Port 0 is on the gateway's WAN, port 1 on its LAN. Pktgen repeats a pcap, which WireGuard refuses as
-- replays: for the way up use TRex (trex_up.py), which plays it once, or perf/loadgen.
package.path = package.path .. ";?.lua;test/?.lua;app/?.lua;"
require "Pktgen"

pktgen.pcap("1", "on")
for _, percent in ipairs({1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100}) do
	pktgen.set("1", "rate", percent)
	pktgen.start("1")
	pktgen.delay(10000)
	local stats = pktgen.portStats("all", "rate")
	printf("%3d %%: lan tx %d pps, wan rx %d pps\n", percent, stats[1].pkts_tx, stats[0].pkts_rx)
	pktgen.stop("1")
	pktgen.delay(1000)
end
