#!/bin/bash
# Pretrains the embedded base, version 7, on one lent GPU, made to end within nine minutes (tried on a CPU only).
#   here:    benchmarks/pretrain_on_gpu.sh pack ../shared/textures     (once: wheels and photographs into .gpu, git-ignored)
#   there:   benchmarks/pretrain_on_gpu.sh run                        (carry .gpu; the base comes back as $OUT/v7.tar.*)
#   trial:   SMALL=1 OUT=/tmp/trial benchmarks/pretrain_on_gpu.sh run  (the same on a CPU, a few updates of each stage)
set -euo pipefail
case "${1:-}" in
pack)
    mkdir -p .gpu
    for name in diffusers jsonargparse typeshed_client importlib_metadata zipp; do
        version=$(python -m pip show "$name" 2>/dev/null | sed -n 's/^Version: //p')
        python -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 -d .gpu "$name${version:+==$version}"
    done
    python -m seas_aug.base.pretrain pack_photographs --source "$2" --output .gpu/photographs.npz
    ;;
run)
    work=$(mktemp -d) SECONDS=0
    if [ -z "${SMALL:-}" ]; then
        python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site .gpu/*.whl
        export PYTHONPATH=/tmp/site:.
        workers=14 autoencoder="--steps 1000 --batch_size 64 --scenes 3000 --lr 1e-3" first=4096 each=16 most=100000
        limit=${LIMIT:-540} batch=256 steps=40000 rate=8e-4 # seconds of the whole; the command may take 600
    else
        workers=1 autoencoder="--steps 3 --batch_size 4 --scenes 16" first=256 each=1 most=256
        limit=0 batch=4 steps=4 rate=8e-4
    fi
    pretrain="python3 -m seas_aug.base.pretrain"
    date +%T
    $pretrain autoencoder --start_from embedded-v6 --photographs .gpu/photographs.npz --output "$work/autoencoder" $autoencoder
    date +%T
    $pretrain normalise --start_from embedded-v6 --autoencoder "$work/autoencoder/final.ckpt" \
        --photographs .gpu/photographs.npz --output "$work/normalised" --twins "$((first < 512 ? 32 : 512))"
    date +%T
    # The export takes half a minute; a machine that was slow so far trains for less.
    minutes=$((limit ? (limit - 40 - SECONDS) : 0))
    minutes=$(python3 -c "print($minutes / 60)")
    $pretrain inpainting --start_from "$work/normalised" --photographs .gpu/photographs.npz --output "$work/inpainting" \
        --steps $steps --minutes "$minutes" --workers $workers --settings.batch_size $batch --settings.lr $rate \
        --settings.first_twins $first --settings.twins_per_update $each --settings.most_twins $most
    date +%T
    $pretrain export_base --autoencoder "$work/normalised" --diffusion "$work/inpainting/final.ckpt" \
        --masks seas_aug/base/weights/v6 --output "$OUT/v7"
    # Eight files of 16 MiB come back at most:   cat v7.tar.* | tar x
    tar c -C "$OUT" v7 | split -b 15M - "$OUT/v7.tar." && rm -r "$OUT/v7"
    for stage in autoencoder inpainting; do
        find "$work/$stage/log" -name metrics.csv -exec cp {} "$OUT/$stage.csv" \;
    done
    date +%T
    ;;
*)
    sed -n '2,5p' "$0"
    exit 2
    ;;
esac
