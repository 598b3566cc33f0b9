#!/bin/sh
# Runs the C++ examples as a user does, on the demo model, and looks at what they do. The
# argument is the folder of the programs.
set -eu
programs=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "examples: $1" >&2
    exit 1
}

# The status of a command, its output in files.
status_of() {
    status=0
    "$@" >"$work/output" 2>"$work/errors" || status=$?
    echo "$status"
}

says() {
    grep -q -- "$1" "$2" || fail "no \"$1\" in: $(cat "$2")"
}

echo "example: generate"
[ "$(status_of "$programs/generate" "a red ball" "$work/ball.mp4")" = 0 ] ||
    fail "generate: $(cat "$work/errors")"
says "17 frames of 64x64" "$work/output"
[ "$(head -c 8 "$work/ball.mp4" | tail -c 4)" = ftyp ] || fail "ball.mp4 is no MP4 file"
[ "$(status_of "$programs/generate" x "$work/x.mp4" no/such/model)" = 1 ] ||
    fail "generate succeeds without a model"
says "no/such/model" "$work/errors"

echo "example: image_to_video"
[ "$(status_of "$programs/image_to_video" tests/pipelines/5b-i2v tests/goldens/images/rgb.jpg \
    "a red ball" "$work/image.mp4")" = 0 ] || fail "image_to_video: $(cat "$work/errors")"
says "16 frames of 80x48" "$work/output"
[ "$(status_of "$programs/image_to_video" tests/pipelines/5b-i2v no/such/picture.png a b)" = 1 ] ||
    fail "image_to_video succeeds without a picture"
says "no/such/picture.png" "$work/errors"
[ "$(status_of "$programs/image_to_video" only)" = 2 ] || fail "image_to_video takes nonsense"

echo "example: editor_loop"
[ "$(status_of "$programs/editor_loop" --steps 4)" = 0 ] || fail "editor_loop: $(cat "$work/errors")"
says "denoising" "$work/output"
says "frame 16 has arrived: 16384 bytes" "$work/output"
says "100% done: 17 frames of 64x64, 17 shown" "$work/output"
[ "$(status_of "$programs/editor_loop" --steps 900 --cancel-after 20)" = 130 ] ||
    fail "editor_loop is not cancelled: $(cat "$work/errors")"
[ "$(status_of "$programs/editor_loop" --nonsense)" = 2 ] || fail "editor_loop takes nonsense"
