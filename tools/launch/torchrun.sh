#!/usr/bin/env bash
# All GPUs of this machine, or of several machines that run the same line.
#
#   tools/launch/torchrun.sh TOOL ARGUMENTS...        TOOL: train, test or pretrain
#   tools/launch/torchrun.sh train configs/detection/mask-rcnn_vitdet_vit-base_100e_coco.py --pretrained mae.pth
#
# From the environment: GPUS (processes on this machine; default all GPUs, 1 without), NODES (1), NODE_RANK (0),
# MASTER_ADDR (127.0.0.1), MASTER_PORT (29500), PYTHON (python).
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
root=$(cd "$(dirname "$0")/../.." && pwd)
tool=$1
shift
if [ ! -f "$root/tools/$tool.py" ]; then
    echo "error: no tool $tool; expected train, test or pretrain" >&2
    exit 2
fi
if [ -z "${GPUS:-}" ]; then
    # Not there, or there without a driver: then it prints an error, which is no GPU.
    GPUS=$( (nvidia-smi --list-gpus 2>/dev/null || true) | grep -c '^GPU ' || true)
    [ "$GPUS" -gt 0 ] || GPUS=1
fi
# torchrun sets OMP_NUM_THREADS=1 for each process itself; a value of yours counts.
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes "${NODES:-1}" --node-rank "${NODE_RANK:-0}" --nproc-per-node "$GPUS" \
    --master-addr "${MASTER_ADDR:-127.0.0.1}" --master-port "${MASTER_PORT:-29500}" \
    "$root/tools/$tool.py" "$@" --launcher pytorch
