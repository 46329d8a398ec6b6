#!/bin/sh
# Asks a server for the sentence of a picture, with curl alone:
#   sh curl.sh dog.jpg http://localhost:8501/v1/models/captioner
set -eu
picture=${1:?usage: sh curl.sh PICTURE [URL of the model]}
[ -r "$picture" ] || { echo "curl.sh: cannot read $picture" >&2; exit 1; }
model=${2:-http://localhost:8501/v1/models/captioner}

# Through a pipe, since a picture is too long for a command line.
answer=$(
  { printf '{"instances":[{"b64":"'; base64 < "$picture" | tr -d '\n'; printf '"}]}'; } |
    curl -sS --max-time 60 -H 'Content-Type: application/json' --data-binary @- "$model:predict"
)
caption=$(printf '%s\n' "$answer" | sed -n 's/.*"caption": *"\([^"]*\)".*/\1/p')
if [ -z "$caption" ]; then
  printf '%s\n' "$answer" | tr '\n' ' ' >&2
  echo >&2
  exit 1
fi
printf '%s\n' "$caption"
