#!/usr/bin/env bash
# One job on any number of nodes: one torchrun a node, requeued and resumed when it is preempted or its time is up.
#
#   sbatch --nodes 8 --gpus-per-node 8 --time 24:00:00 tools/launch/slurm.sh TOOL ARGUMENTS...
#   sbatch --nodes 8 --gpus-per-node 8 tools/launch/slurm.sh train configs/detection/mask-rcnn_vitdet_vit-base_100e_coco.py \
#       --pretrained mae.pth --work-dir work_dirs/vitdet
#
# Submit it from the checkout, or, of an installed package, "$(mimtransfer where slurm.sh)" from anywhere. From the environment: PYTHON (python; the environment's own), SETUP (a line run first on
# each node, such as "module load cuda"). Give --work-dir: a requeued job finds its newest checkpoint there.
#SBATCH --job-name mimtransfer
#SBATCH --ntasks-per-node 1
#SBATCH --cpus-per-task 64
#SBATCH --output %x-%j.log
#SBATCH --open-mode append
#SBATCH --requeue
#SBATCH --signal B:USR1@120
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
# Slurm runs a copy of this file, so the checkout is known by where the job was submitted.
root=${SLURM_SUBMIT_DIR:-$PWD}
[ -f "$root/tools/launch/torchrun.sh" ] || root=$(mimtransfer where 2>/dev/null) || true
if [ ! -f "$root/tools/launch/torchrun.sh" ]; then
    echo "error: ${SLURM_SUBMIT_DIR:-$PWD} is no checkout of mimtransfer, and no command mimtransfer is installed; submit the job from the root of a checkout" >&2
    exit 2
fi
export NODES=$SLURM_JOB_NUM_NODES
export GPUS=${SLURM_GPUS_ON_NODE:-1}
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST") # whole: scontrol would fail where head stops reading it
export MASTER_ADDR=${hosts%%$'\n'*}
# Two jobs on one node must not meet.
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))

# A tool with --resume goes on from the newest checkpoint; without one it begins.
resume=--resume
case $1 in test) resume= ;; esac

requeue() {
    echo "time is almost up: requeued" >&2
    scontrol requeue "$SLURM_JOB_ID"
    kill "$step" 2>/dev/null || true
    exit 0
}
trap requeue USR1

# NODE_RANK is known on each node only, hence the quotes.
srun --kill-on-bad-exit=1 bash -c \
    'eval "${SETUP:-:}"; NODE_RANK=$SLURM_NODEID exec "$0" "$@"' "$root/tools/launch/torchrun.sh" "$@" $resume &
step=$!
wait "$step"
