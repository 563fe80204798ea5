# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Copyright The lbmatrix Authors
#
# Sourced by evidence-netns and evidence-scale: the processes of clusters on namespaces.

# programs: PID and path of each. They come from the artifact store, which those in
# containers do not; of lbprobe only what holds a machine, and what serves.
programs() {
	local dir exe
	for dir in /proc/[0-9]*; do
		exe=$(readlink "$dir/exe" 2>/dev/null) || continue
		case $exe in
		*/artifacts/kubernetes-*/* | */artifacts/etcd-*/* | */artifacts/metallb-*/*) ;;
		*/artifacts/lbprobe-*/lbprobe) grep -qz -e '^--until-stdin-eof$' -e '^serve$' "$dir/cmdline" 2>/dev/null || continue ;;
		*) continue ;;
		esac
		printf '%s %s\n' "${dir#/proc/}" "$exe"
	done
}

# named PROGRAM: the processes of it.
named() { programs | awk -v name="$1" '{ n = $2; sub(/.*\//, "", n) } n == name { print $1 }'; }

# memory: megabytes by program, resident and proportional; the last line is all.
memory() {
	programs | while read -r pid exe; do
		awk -v name="${exe##*/}" '/^Rss:/ { rss = $2 } /^Pss:/ { pss = $2 } END { print name, rss, pss }' "/proc/$pid/smaps_rollup" 2>/dev/null
	done | awk '{ n[$1]++; rss[$1] += $2; pss[$1] += $3; r += $2; p += $3 }
		END { for (k in n) printf "  %-16s n=%-3d rss %5.0f MB  pss %5.0f MB\n", k, n[k], rss[k] / 1024, pss[k] / 1024
			printf "  %-16s       rss %5.0f MB  pss %5.0f MB\n", "all", r / 1024, p / 1024 }'
}
