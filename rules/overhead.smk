# What registers cost on the device at hand; needs neither weights nor images.


localrules:
    gather_overhead,


rule overhead:
    output:
        PATHS.measure("overhead", BACKBONE),
    log:
        f"{RESULTS}/logs/overhead/{BACKBONE}.log",
    benchmark:
        f"{RESULTS}/benchmarks/overhead/{BACKBONE}.tsv"
    conda:
        ENV
    threads: config["threads"]["extract"]
    resources:
        gpu=gpu,
        mem_mb=megabytes("overhead"),
        runtime=minutes("overhead"),
    params:
        spec=lambda w: row_of(w).spec,
        counts=config["overhead"]["registers"],
        modelled=lambda w: flops.flops_by_registers(
            row_of(w).arch,
            config["overhead"]["registers"],
            row_of(w).measured_at(config["overhead"]),
        ),
        size=lambda w: row_of(w).measured_at(config["overhead"]),
        batch=config["overhead"]["batch"],
        rounds=config["overhead"]["rounds"],
        device=config["device"],
        code=code("backbones/overhead.py"),
    script:
        "../workflow_scripts/backbones/overhead.py"


rule gather_overhead:
    input:
        rows=TABLES["overhead"].parts,
        published=ancient(PUBLISHED),
    output:
        csv=table_file("overhead"),
        text=PATHS.table("overhead", "md"),
    log:
        f"{RESULTS}/logs/gather_overhead/overhead.log",
    conda:
        LIGHT_ENV
    params:
        records=[f"{PATHS.accounting()}/jobs/overhead/{row.key}.jsonl" for row in STUDY.overhead],
        code=code("backbones/gather_overhead.py", reads=[PUBLISHED, LABELS]),
    script:
        "../workflow_scripts/backbones/gather_overhead.py"
