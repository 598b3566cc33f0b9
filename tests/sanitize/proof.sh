#!/bin/sh
# Planted mistakes must be found: proof.sh PROGRAM PLACE, where PLACE is library or program, and PROGRAM
# brings the sanitizers' runtimes. Without one it must end well.
set -u
program=$1 place=$2
export ASAN_OPTIONS=detect_leaks=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# $1 what is planted, $2 what the report must say; empty: no mistake
try() {
    CVX_PLANTED=$place:$1 "$program" objects_that_were_moved_from_answer_errors >"$log" 2>&1
    status=$?
    if [ -z "$2" ]; then
        [ $status = 0 ] && return
    else
        [ $status != 0 ] && grep -q "$2" "$log" && return
    fi
    cat "$log"
    echo "sanitizers, planted in the $place: $1: status $status, expected ${2:-0}" >&2
    exit 1
}

try nothing ''
try overflow 'heap-buffer-overflow'
try freed 'heap-use-after-free'
try undefined 'signed integer overflow'
try leak 'LeakSanitizer: detected memory leaks'
echo "sanitizers: an overflow, a use after free, an undefined sum and a leak, planted in the $place, are found"
