#!/bin/sh
# Whether the newest nightly run of k6 is green and not too old; for a `job` check such as
#   { name: load-test, job: { command: [sh, manifests/jobs/k6-nightly.sh, /var/lib/k6/summary.json, "30"] } }
# The file is what `handleSummary(data)` wrote (JSON.stringify(data)); the second word is the greatest age in hours.
# Exit code 0 green, 1 red or too old, 2 (unknown) without a summary that can be read. Needs jq.
set -u
[ -r "$1" ] || exit 2
written=$(stat -c %Y "$1") || exit 2
green=$(jq '[.metrics[] | .thresholds // {} | .[].ok] | if length == 0 then error("no thresholds") else all end' "$1" 2>/dev/null) || exit 2
[ "$green" = true ] && [ $(($(date +%s) - written)) -le $(($2 * 3600)) ]
