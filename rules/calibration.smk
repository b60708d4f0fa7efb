# How often the instrument errs: what it says of norms with a known answer, drawn at random.


localrules:
    calibration,
    fig_calibration,


CALIBRATION = config.get("calibration", {"images": [], "patches": []})


rule calibrate:
    output:
        f"{RESULTS}/calibration/{{images}}x{{patches}}.csv",
    log:
        f"{RESULTS}/logs/calibrate/{{images}}x{{patches}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/calibrate/{{images}}x{{patches}}.tsv"
    wildcard_constraints:
        images=r"\d+",
        patches=r"\d+",
    conda:
        LIGHT_ENV
    threads: 1
    resources:
        mem_mb=megabytes("calibrate"),
        runtime=minutes("calibrate"),
    params:
        settings=CALIBRATION,
        decides=counted_by("calibration/calibrate.py"),  # kept with the counts
        code=code("calibration/calibrate.py"),
    script:
        "../workflow_scripts/calibration/calibrate.py"


rule calibration:
    input:
        parts=expand(
            rules.calibrate.output,
            images=CALIBRATION["images"],
            patches=CALIBRATION["patches"],
        ),
        stored=ancient(COUNTED),
    output:
        csv=PATHS.table("calibration"),
        text=PATHS.table("calibration", "md"),
    log:
        f"{RESULTS}/logs/calibration/calibration.log",
    conda:
        LIGHT_ENV
    params:
        decides=counted_by("calibration/calibrate.py"),
        code=code("calibration/calibration.py", reads=[COUNTED]),
    script:
        "../workflow_scripts/calibration/calibration.py"


rule fig_calibration:
    input:
        rules.calibration.output.csv,
    output:
        figure_files("calibration/answers"),
    log:
        f"{RESULTS}/logs/fig_calibration/calibration.log",
    conda:
        LIGHT_ENV
    params:
        code=code("calibration/fig_calibration.py"),
    script:
        "../workflow_scripts/calibration/fig_calibration.py"
