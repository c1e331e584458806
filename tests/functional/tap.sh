#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The Sallyport authors
#
# Verdict lines for scripts: `ok - name (last line of output)` or `not ok - name: last line of output`.

tap_steps=0
tap_failed=0

tap_verdict() {
	local name=$1 rc=$2 out=$3
	tap_steps=$((tap_steps + 1))
	if [ "$rc" = 0 ]; then
		echo "ok - $name${out:+ ($(tail -n 1 <<<"$out"))}"
	else
		tap_failed=$((tap_failed + 1))
		echo "not ok - $name: $(tail -n 1 <<<"${out:-exit status $rc}")"
	fi
}

# tap_step NAME COMMAND...: in a subshell; its output is the reason of a failure.
tap_step() {
	local name=$1 out rc
	shift
	out=$("$@" 2>&1)
	rc=$?
	tap_verdict "$name" "$rc" "$out"
	return "$rc"
}

# tap_run NAME COMMAND...: in this shell, for commands that start or stop programs.
tap_run() {
	local name=$1 rc
	shift
	"$@" >tap.out 2>&1
	rc=$?
	tap_verdict "$name" "$rc" "$(cat tap.out)"
	return "$rc"
}

# tap_program COMMAND...: a program that prints verdict lines itself; they count like ours. Its
# standard error goes to program.log.
tap_program() {
	local line rc
	: >program.out
	"$@" >program.out 2>program.log &
	tap_pid=$!
	while IFS= read -r line; do
		case "$line" in
		'ok - '*) tap_steps=$((tap_steps + 1)) ;;
		'not ok - '*) tap_steps=$((tap_steps + 1)) tap_failed=$((tap_failed + 1)) ;;
		esac
		echo "$line"
	done < <(tail -n +1 -s 0.1 --pid="$tap_pid" -f program.out)
	wait "$tap_pid"
	rc=$?
	# A program that died says so by its status alone.
	if [ "$rc" -gt 1 ]; then
		tap_verdict "${2##*/}" "$rc" "$(tail -n 1 program.log)"
	elif [ "$rc" = 1 ] && ! grep -q '^not ok - ' program.out; then
		tap_verdict "${2##*/}" "$rc" "$(tail -n 1 program.log)"
	fi
	[ "$rc" = 0 ] || [ -z "${LAB_VERBOSE:-}" ] || cat program.log
	return "$rc"
}

# tap_end: the last line; ends the script.
tap_end() {
	if [ "$tap_failed" != 0 ] && [ -n "${LAB_VERBOSE:-}" ]; then
		lab_logs
	fi
	echo "$tap_steps steps, $tap_failed failed"
	[ "$tap_failed" = 0 ]
	exit
}
