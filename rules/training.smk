# Training with registers: from scratch (bach-2025) and fine-tuned with a norm penalty (tmlr-4353).
# What is trained here enters the zoo and runs through every claim.


rule train:
    input:
        unpack(training_inputs),
    output:
        card=f"{RESULTS}/backbones/{BACKBONE}/card.json",
        weights=f"{RESULTS}/backbones/{BACKBONE}/model.safetensors",
        history=f"{RESULTS}/backbones/{BACKBONE}/history.csv",
        snapshots=directory(f"{RESULTS}/backbones/{BACKBONE}/snapshots"),
    log:
        f"{RESULTS}/logs/train/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{BACKBONE}.tsv"
    wildcard_constraints:
        registers=r"r\d+-(scratch|finetuned)",
    conda:
        ENV
    threads: config["threads"]["train"]
    resources:
        gpu=lambda w: gpu() * STUDY.compute(row_of(w))["gpus"] * STUDY.compute(row_of(w))["nodes"],
        nodes=lambda w: STUDY.compute(row_of(w))["nodes"],
        mem_mb=lambda w, threads, attempt: (cost.torch_mb(gpu() > 0) + 600 + 150 * threads) * attempt,
        runtime=lambda w: STUDY.compute(row_of(w))["minutes"],
    params:
        spec=lambda w: row_of(w).spec,
        base=lambda w: STUDY.rows[row_of(w).base].spec if row_of(w).base else {},
        recipe=lambda w: STUDY.training(row_of(w)),
        compute=lambda w: STUDY.compute(row_of(w)),
        images=lambda w: STUDY.training_images(row_of(w)),
        device=config["device"],
        partial=f"{RESULTS}/partial/training/{BACKBONE}",
        # Only what decides the weights: hundreds of GPU-hours must not hang on a log line.
        code=code("tokenscope/training.py"),
    script:
        "../workflow_scripts/train.py"
