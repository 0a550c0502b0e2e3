#!/bin/sh
# The main job from end to end on the simulated cloud: rent, copy, train, bring back, again after an edit, give back.
# It works on a copy, with a gpuforge of its own, so that nothing of yours is touched.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${DEMO_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/gpuforge-demo}
export GPUFORGE_HOME="$work/home"

bold=''
plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$(printf '\033[1m')
  plain=$(printf '\033[0m')
fi
say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() {
  say "$@"
  "$@"
}

# whatever happens, no simulated machine is left
give_back() {
  code=$?
  trap '' INT TERM
  gpuforge down --all --yes >/dev/null 2>&1 || true
  exit "$code"
}
trap give_back EXIT
trap 'echo "  interrupted: giving the machine back …"; exit 130' INT
trap 'exit 143' TERM

mkdir -p "$work/train-resnet"
cd "$work/train-resnet"
for file in draw.py train.py requirements.txt gpuforge.yaml .gpuforgeignore; do
  cp "$here/$file" .
done
rm -rf runs
gpuforge down --all --yes >/dev/null 2>&1 || true # of a demo that was killed

printf '%s\n' "${bold}A real network, a real SSH server, a simulated cloud.${plain} All of it is in $work"
run python draw.py
run gpuforge run --yes
run ls -l runs/checkpoint.pt

say "echo '# a note' >> train.py      # an edit: only this file travels now"
echo '# a note' >>train.py
run gpuforge run --yes
run gpuforge jobs

run gpuforge down train-resnet --yes
run gpuforge status
run gpuforge fake status
