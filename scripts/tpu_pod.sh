#!/usr/bin/env bash
# One command on every host of a Cloud TPU pod slice. Create the slice first (gcloud compute tpus tpu-vm create, or a queued resource),
# with a directory that all its hosts share, such as a Filestore share mounted on each: processes read what process 0 has written there.
#
#   scripts/tpu_pod.sh all NAME ZONE 'sudo mkdir -p /mnt/shared && sudo mount 10.0.0.2:/share /mnt/shared && sudo chmod 777 /mnt/shared'
#   scripts/tpu_pod.sh install NAME ZONE        this checkout's last commit, in an environment of its own
#   scripts/tpu_pod.sh run NAME ZONE --config=configs/imagenet_inception.py --workdir=/mnt/shared/imagenet --config.data.dir=/mnt/shared/tfds
#   scripts/tpu_pod.sh log NAME ZONE            what process 0 tells; the other hosts' is in their ~/ls_jax.log too
#   scripts/tpu_pod.sh stop NAME ZONE           saves first
#
# `run` returns at once, and the job goes on without this machine. The same `run` resumes a job that was stopped or lost a host.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
  exit 2
fi
action=$1 name=$2 zone=$3
shift 3

on() {  # WHICH COMMAND: on one worker, or on all
  gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker="$1" --command="$2"
}

case $action in
  all)
    on all "$*" ;;
  install)
    archive=$(mktemp)
    trap 'rm -f "$archive"' EXIT
    git -C "$(dirname "$0")/.." archive --format=tar.gz HEAD > "$archive"
    gcloud compute tpus tpu-vm scp "$archive" "$name:ls_jax.tar.gz" --zone="$zone" --worker=all
    on all "mkdir -p ls_jax && tar -xzf ls_jax.tar.gz -C ls_jax && python3 -m pip install --quiet --user uv && cd ls_jax &&
      python3 -m uv venv --quiet --allow-existing --python 3.12 .venv && python3 -m uv pip install --quiet --python .venv/bin/python -e '.[tpu,imagenet]'" ;;
  run)
    on all "cd ls_jax && . .venv/bin/activate && (nohup$(printf ' %q' python -m ls_jax.main --distributed "$@") > ../ls_jax.log 2>&1 < /dev/null &)" ;;
  log)
    on 0 "tail -n 50 -F ls_jax.log" ;;
  stop)
    on all "pkill -TERM -f '[l]s_jax.main' || true" ;;
  *)
    echo "$0: unknown action $action: all, install, run, log or stop" >&2
    exit 2 ;;
esac
