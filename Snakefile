# Vision Transformers Need Registers: the reproduction, end to end.
# The study is a config file: config/config.yaml (the papers) unless --configfile names another.
import atexit
import os
import time
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

# The paper study is the default of a run without --configfile, and never mixed into one with it.
if not workflow.configfiles:

    configfile: os.path.relpath(Path(str(workflow.current_basedir), "config/config.yaml"))


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/resources.smk"
include: "rules/report_items.smk"
include: "rules/data.smk"
include: "rules/backbones.smk"
include: "rules/overhead.smk"
include: "rules/training.smk"
include: "rules/training_tables.smk"
include: "rules/tokens.smk"
include: "rules/testtime.smk"
include: "rules/claim1.smk"
include: "rules/claim2.smk"
include: "rules/claim3.smk"
include: "rules/claim4.smk"
include: "rules/claim5.smk"
include: "rules/controls.smk"
include: "rules/kinds.smk"
include: "rules/calibration.smk"
include: "rules/tables.smk"
include: "rules/discovery.smk"
include: "rules/discovery_tables.smk"
include: "rules/dense.smk"
include: "rules/diagnose.smk"
include: "rules/carbon.smk"
include: "rules/report.smk"


# All but what uses the network goes to the cluster where a login node allows nothing else.
if config["small_jobs"] == "cluster":
    workflow._localrules.intersection_update({"obtain", "obtain_head"})

DRY = bool({"-n", "--dry-run", "--dryrun"} & set(sys.argv))  # workflow.dryrun is known late
# A dry run in less than a page; -p (--printshellcmds) shows every job with its reason.
if not workflow.output_settings.printshellcmds:
    dry_run.shorten(workflow.logger_manager.logger, lambda: workflow.dryrun or DRY)

# The forecast: shown after a dry run, noted before a real one (tokenscope.cost.forecast).
os.environ.setdefault("TOKENSCOPE_RUN", f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
atexit.register(remark_missing)
atexit.register(remark_target)
atexit.register(forecast.show, workflow, STUDY, SITE)
atexit.register(before_start.note, workflow, RESULTS)


WATCH = watch.Watch()  # what make status and make resume read


onstart:
    check_images(workflow.dag.needrun_jobs())
    check_site()
    if unmended := slurm_plugin.mend():
        print(f"note: {unmended}", file=sys.stderr)
    try:
        WATCH.begin(workflow, STUDY, SITE, PLAIN_CONFIG, forecast.begin(workflow, STUDY))
    except StudyError as error:
        raise WorkflowError(str(error))


onsuccess:
    WATCH.end("finished")
    at_end.tell(config["study"], "finished")


# A failure outside the study (partition, account, disk) is answered with the key to change.
onerror:
    WATCH.end("failed")
    for hint in (found := hints(log, RESULTS)):
        print(f"hint: {hint}", file=sys.stderr)
    at_end.tell(config["study"], "failed", found)


rule all:
    default_target: True
    input:
        rules.claim1.input,
        rules.claim2.input,
        rules.claim3.input,
        rules.claim4.input,
        rules.claim5.input,
        rules.controls.input,
        rules.kinds.input,
        rules.training.input,
        rules.discovery.input,
        rules.dense.input,
        rules.testtime.input,
        rules.diagnose.input,
        rules.carbon.input,
        rules.report.output,
        PATHS.table("backbones"),
        PATHS.index("tokens"),
        PATHS.index("gallery"),
