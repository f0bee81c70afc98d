#!/bin/sh
# Seconds since the newest good backup of a stanza ended, from pgbackrest's own JSON; for a `job` check such as
#   { name: backup, job: { command: [sh, manifests/jobs/backup-age.sh, veza] }, pass: "<= 24h" }
# Exit code 2 (unknown) when pgbackrest or its answer is not to be had, or there is no good backup. Needs jq.
set -u
answer=$("${PGBACKREST:-pgbackrest}" --stanza="$1" --output=json info) || exit 2
stop=$(printf '%s' "$answer" | jq -e --arg stanza "$1" \
  '[.[] | select(.name == $stanza) | .backup[] | select(.error != true) | .timestamp.stop] | max // empty') || exit 2
echo $(($(date +%s) - stop))
