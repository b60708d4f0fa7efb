# Training with registers: from scratch (bach-2025) and fine-tuned with a norm penalty (tmlr-4353).
# What is trained here enters the zoo and runs through every claim.


localrules:
    gather_training,
    register_counts,
    training_curves,
    fig_training,
    fig_register_counts,


rule train:
    input:
        unpack(training_inputs),
    output:
        card=PATHS.card(BACKBONE),
        weights=PATHS.backbone(BACKBONE, "model.safetensors"),
        history=PATHS.backbone(BACKBONE, "history.csv"),
        snapshots=directory(PATHS.backbone(BACKBONE, "snapshots")),
    log:
        f"{RESULTS}/logs/train/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{BACKBONE}.tsv"
    wildcard_constraints:
        registers=r"r\d+-(scratch|finetuned)",
    priority: 1
    conda:
        ENV
    # Of each GPU: every process decodes for its own.
    threads: lambda w: config["threads"]["train"] * (STUDY.compute(row_of(w))["gpus"] if gpu() else 1)
    resources:
        gpu=lambda w: gpu() * STUDY.compute(row_of(w))["gpus"] * STUDY.compute(row_of(w))["nodes"],
        nodes=lambda w: STUDY.compute(row_of(w))["nodes"],
        # Over several nodes the job has to start once, without an srun around it: the path of the
        # Slurm plugin for MPI. Resources of value None are none.
        mpi=lambda w: "srun" if STUDY.compute(row_of(w))["nodes"] > 1 else None,
        tasks=lambda w: STUDY.compute(row_of(w))["nodes"],
        tasks_per_gpu=0,
        mem_mb=megabytes("train"),
        runtime=lambda w: time_limit.granted(STUDY, STUDY.compute(row_of(w))["minutes"]),
    params:
        spec=lambda w: row_of(w).spec,
        base=lambda w: STUDY.rows[row_of(w).base].spec if row_of(w).base else {},
        recipe=lambda w: STUDY.training(row_of(w)),
        compute=lambda w: STUDY.compute(row_of(w)),
        images=lambda w: STUDY.training_images(row_of(w)),
        device=config["device"],
        partial=f"{RESULTS}/partial/training/{BACKBONE}",
        # Only what decides the weights: hundreds of GPU-hours must not hang on a log line.
        code=code(
            "tokenscope/training/trainer.py",
            "tokenscope/backbones/registers.py",
            "tokenscope/backbones/loading.py",
        ),
    script:
        "../workflow_scripts/training/train.py"


# The pass of extraction over the snapshots of a training, norms only.
rule snapshots:
    input:
        card=PATHS.card(BACKBONE),  # new with each training: the age of its snapshots says nothing
        snapshots=ancient(PATHS.backbone(BACKBONE, "snapshots")),
        sample=PATHS.data("{dataset}", "sample.csv"),
        pixels=pixels_of,
    output:
        store=directory(f"{RESULTS}/snapshots.zarr/{{dataset}}/{BACKBONE}"),
        receipt=PATHS.receipt("snapshots", "{dataset}", BACKBONE),
    log:
        f"{RESULTS}/logs/snapshots/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/snapshots/{{dataset}}/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("snapshots"),
        runtime=minutes("snapshots"),
    params:
        spec=lambda w: row_of(w).spec,
        images=images_of,
        chunk=lambda w: STUDY.chunk_images(row_of(w)),
        batch=config["extract"]["batch"],
        device=config["device"],
        partial=f"{RESULTS}/partial/snapshots/{{dataset}}/{BACKBONE}",
        code=code("training/snapshots.py"),
    script:
        "../workflow_scripts/training/snapshots.py"


rule emergence:
    input:
        rules.snapshots.output.receipt,
    output:
        PATHS.measure("emergence", "{dataset}", BACKBONE),
    log:
        f"{RESULTS}/logs/emergence/{{dataset}}/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/emergence/{{dataset}}/{BACKBONE}.tsv"
    conda:
        LIGHT_ENV
    threads: config["threads"]["measure"]
    resources:
        mem_mb=megabytes("emergence"),
        runtime=minutes("emergence"),
    params:
        who=who,
        outliers=config["outliers"],
        statistics=config["statistics"],
        code=code("training/emergence.py"),
    script:
        "../workflow_scripts/training/emergence.py"
