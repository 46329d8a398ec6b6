#!/bin/sh
# Requests the caption of an image with curl:
#   sh curl.sh dog.jpg http://localhost:8501/v1/models/captioner
set -eu
image=${1:?usage: sh curl.sh IMAGE [URL of the model]}
[ -r "$image" ] || { echo "curl.sh: cannot read $image" >&2; exit 1; }
model=${2:-http://localhost:8501/v1/models/captioner}

# Through a pipe, because an image is too long for a command line.
answer=$(
  { printf '{"instances":[{"b64":"'; base64 < "$image" | tr -d '\n'; printf '"}]}'; } |
    curl -sS --max-time 60 -H 'Content-Type: application/json' --data-binary @- "$model:predict"
)
caption=$(printf '%s\n' "$answer" | sed -n 's/.*"caption": *"\([^"]*\)".*/\1/p')
if [ -z "$caption" ]; then
  printf '%s\n' "$answer" | tr '\n' ' ' >&2
  echo >&2
  exit 1
fi
printf '%s\n' "$caption"
