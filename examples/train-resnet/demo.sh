#!/bin/sh
# The main job from end to end on the simulated cloud: rent, copy, train, bring back, again after an edit, give back.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${DEMO_DIR:-${TMPDIR:-/tmp}/gpuforge-demo-$(id -u)}
export GPUFORGE_HOME="$work/home"

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
run() { say "$@"; "$@"; }
# whatever happens, no simulated machine is left
trap 'gpuforge down --all --yes >/dev/null 2>&1 || true' EXIT INT TERM

mkdir -p "$work/train-resnet"
for file in draw.py train.py requirements.txt gpuforge.yaml; do
  cp "$here/$file" "$work/train-resnet/"
done
cd "$work/train-resnet"
rm -rf runs

run python draw.py
run gpuforge run --yes
run ls -l runs

say "echo '# a note' >> train.py      # an edit: only this file travels"
echo '# a note' >> train.py
run gpuforge run --yes
run gpuforge jobs
run gpuforge down train-resnet --yes
run gpuforge status
printf '\nthe checkpoint is at %s\n' "$work/train-resnet/runs/checkpoint.pt"
