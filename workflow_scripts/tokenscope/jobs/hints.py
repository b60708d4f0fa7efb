"""What to change when a run fails for a reason outside the study: hints by message and by state."""

import re
import shutil
from pathlib import Path

PROFILE = "profiles/slurm/profile.v9+.yaml"
FULL = (
    "the disk is full: make room, or point results: in the study's config elsewhere; finished work "
    "is kept"
)
ROOM = 10_000_000  # bytes; with less left not even a job's log can say what was wrong
HINTS = [
    (
        r"invalid partition specified: (\S+)|Invalid partition name specified|"
        r"No partition specified or system default partition",
        f"this cluster has no such partition ('{{0}}'): `sinfo` lists them; set slurm_partition in "
        f"{PROFILE} (default-resources: jobs without a GPU; set-resources: with one)",
    ),
    (
        r"group not permitted to use this partition|Required partition not available|"
        r"Requested partition configuration not available|"
        r"Partition in DOWN state|reason: Partition(Inactive|Down|Config|NodeLimit)",
        "the partition is not open to you, or takes no jobs now: `scontrol show partition` tells "
        f"which, and who may use it; set another slurm_partition in {PROFILE}",
    ),
    (
        r"Requested node configuration is not available|Node count specification invalid|"
        r"reason: BadConstraints",
        "no node has what a job asks for: compare `sinfo -o '%P %G %c %m'` with set-resources: "
        f"gpu_model in {PROFILE} and with threads in the study's config",
    ),
    (
        r"[Ii]nvalid account|account (\S+) appears to be invalid|AccountNotAllowed|"
        r"reason: InvalidAccount|failed: (?:User not found|Access/permission denied)|"
        r"(?:must|[Pp]lease|need to) (?:specify|provide|set|choose|use) [^\n]{0,30}"
        r"(?:[Aa]ccount|[Pp]roject)\b",
        "Slurm refuses the account: `sacctmgr show associations user=$USER` lists yours; set "
        f"slurm_account in {PROFILE}, or export SBATCH_ACCOUNT before you start",
    ),
    (
        r"QOSMin\w+|must request at least|at least one GPU",
        "a job asks for less than its QOS or partition wants of each (GPUs, cores): `sacctmgr show "
        "qos format=name,mintres` tells; set another qos or slurm_partition for these rules, or "
        f"set-threads, in {PROFILE}",
    ),
    (
        r"[Ii]nvalid (qos|QOS)|QOS specification|reason: InvalidQOS|QOSNotAllowed",
        "Slurm refuses the QOS: `sacctmgr show associations user=$USER format=account,qos` lists "
        f"yours; set slurm-qos, or qos in set-resources, in {PROFILE}",
    ),
    (
        r"(Assoc|QOS)\w*Minutes|(Assoc|QOS)\w*BillingLimit|breached requested QOS usage|"
        r"QOSUsageThreshold|account is over its limit|[Ii]nsufficient (?:balance|budget|credit)|"
        r"[Nn]o (?:hours|budget|credits?) (?:is |are )?left|[Pp]roject \S+ has expired",
        "the hours of the account are used up: `sshare -l` or the site's own command tells; ask "
        "for more, or export SBATCH_ACCOUNT with another account",
    ),
    (
        r"(Assoc|QOS)\w*(MaxSubmit|MaxJobs|GrpSubmit|GrpJobs)\w*Limit|MaxSubmitJobs|"
        r"(Assoc|QOS)(Grp|Max)(?!\w*Minutes)(C[Pp][Uu]|GRES|Gres|Mem|Node)\w*|"
        r"MaxGRESPerAccount|QOSResourceLimit|"
        r"[Jj]ob violates accounting/QOS policy",
        "more jobs were submitted than the site allows one user (or one asks for more than its QOS "
        f"or account may have): lower jobs in {PROFILE} below the limit that `sacctmgr show qos "
        "format=name,maxsubmitpu,maxtrespu` or `sacctmgr show associations user=$USER` tells",
    ),
    (
        r"Requested time limit is invalid|[Ii]nvalid time limit|PartitionTimeLimit|"
        r"Time limit specification required|(Assoc|QOS)\w*Wall\w*Limit|"
        r"reason: (?:QOS|Association)TimeLimit",
        "a job asks for more time than its partition grants: `sinfo -o '%P %l'` lists the limits; "
        f"take a partition with a longer one (slurm_partition in {PROFILE}), or lower runtime",
    ),
    (
        r"[Ii]nvalid generic resource|Invalid GRES|[Ii]nvalid Trackable RESource",
        "the nodes know no such GPU: `sinfo -o '%P %G'` lists models; set gpu_model in "
        f"{PROFILE} to the word between gpu: and the count, or delete the line where there is none",
    ),
    (
        r"[Ii]nvalid (?:--)?gpus specification|unrecognized option '--gpus|"
        r"GRES option unsupported|(?:requires?|use|specify) --gres",
        "this Slurm takes GPUs by --gres: `gpu: 0` and `gres: gpu:<model>:1` in place of "
        f"gpu_model, in set-resources of {PROFILE} (profiles/README.md, Sites: Leonardo)",
    ),
    (
        r"--mem\b[^\n]{0,60}\b(?:not (?:allowed|supported|permitted)|forbidden|ignored)|"
        r"(?:[Dd]o not|[Dd]on't|[Rr]emove|[Ww]ithout) [^\n]{0,30}--mem\b",
        "this site gives memory with cores and lets nobody ask for it: `requests: memory: false` "
        f"in the study's config, and mem_mb: 0 in default-resources of {PROFILE}",
    ),
    (
        r"whole nodes|nodes? (?:must|can only) be (?:allocated|requested) exclusive|"
        r"must (?:be|request) a multiple of",
        "this site gives out whole nodes: profiles/README.md, Sites, Whole nodes, says how one job "
        f"works on all GPUs of its node; or set-threads in {PROFILE} to what a node has",
    ),
    (
        r"Memory specification can ?not be satisfied|Memory required by task is not available|"
        r"Requested memory.*exceeds|MaxMemPer",
        "no node of the partition has the memory that a job asks for: `sinfo -o '%P %m'` lists it; "
        f"take other nodes (slurm_partition), or set mem_mb for the rule in {PROFILE}",
    ),
    (
        r"CPU count per node can ?not be satisfied|More processors requested than permitted|"
        r"C(?:PU|pu) count specification invalid|Requested.*CPUs.*exceed",
        "no node has as many cores as a job asks for: `sinfo -o '%P %c'` lists them; lower threads "
        f"in the study's config, or set-threads in {PROFILE}",
    ),
    (
        r"Invalid feature specification|Invalid preferred feature",
        "no node has the feature that a job asks for: `sinfo -o '%P %f'` lists features; change "
        f"constraint in {PROFILE}",
    ),
    (
        r"Access denied to requested reservation|Requested reservation (is invalid|not usable)|"
        r"reason: Reservation(Deleted)?\b",
        "the reservation is over, has not begun, or is not yours: `scontrol show reservation` "
        f"lists them; change slurm-reservation in {PROFILE}, or delete the line",
    ),
    (
        r"reason: (JobHeld\w+|ReqNodeNotAvail|[\w ]*requeued (?:in )?held|NodeDown)|"
        r"Nodes required for job are|Required node not available",
        "the job is held, or the nodes that it needs are down or reserved: `scontrol show job` and "
        "`sinfo -R` say why; a held job goes on after `scontrol release`",
    ),
    (
        r"(?:Socket|Transport) timed out|Unable to contact slurm controller|"
        r"[Bb]ackup controller in standby|submission failed: Resource temporarily unavailable|"
        r"temporarily unable to accept job|Zero Bytes were transmitted|"
        r"I/O error writing script/environment|Unexpected message received|"
        r"[Pp]roblem talking to the database|slurm_persist_conn_open|Unable to connect to database|"
        r"submission failed: Connection refused|PersistInit msg",
        "Slurm's controller did not answer: a site's Slurm is restarted or overloaded; what was "
        f"refused is tried again. If it goes on, lower jobs and max-jobs-per-timespan in {PROFILE}",
    ),
    (
        r"Munge (?:en|de)code failed|Protocol authentication error|DNS SRV lookup failed|"
        r"Could not establish a configuration source",
        "this host is none from which jobs can be submitted, or its munge or Slurm is down: start "
        "on a login node; if it is one, tell the site (`munge -n | unmunge` tells whether)",
    ),
    (
        r"NVIDIA driver on your system is too old|driver too old|no kernel image is available|"
        r"CUDA driver version is insufficient|device kernel image is invalid|"
        r"not compatible with the current PyTorch installation|unsupported toolchain|"
        r"unsupported display driver|forward compatibility was attempted",
        "the GPU's driver does not fit this build of torch: `nvidia-smi` names the driver; see "
        "profiles/README.md, Software on the nodes, for another build (make setup TORCH_INDEX=...)",
    ),
    (
        r"(?:CUDA|HIP) (?:error: )?out of memory|OutOfMemoryError|"
        r"C(?:UBLAS|UDNN|USOLVER)_STATUS_ALLOC_FAILED",
        "a GPU's memory was too small: lower batch in the study's config, or take a GPU with more",
    ),
    (
        r"No CUDA GPUs are available|Found no NVIDIA driver|CUDA unknown error|"
        r"CUDA-capable device\S* \S+ busy or unavailable|no CUDA-capable device|"
        r"CUDA driver initialization failed",
        "a job was given no GPU that works: set gpu_model and slurm_partition of its rule in "
        f"{PROFILE} to a partition with GPUs; make doctor looks at a node of it",
    ),
    (
        r"uncorrectable (?:NVLink|ECC) error|GPU is lost|fallen off the bus|"
        r"Driver/library version mismatch|system not yet initialized",
        "a GPU or its driver is broken, and its site should hear of it: name the node (make "
        "status) to them; "
        f"slurm_extra: \"'--exclude=<node>'\" in {PROFILE} keeps away from it",
    ),
    (
        r"No space left on device|[Qq]uota exceeded",
        FULL,
    ),
    (
        r"Stale (?:NFS )?file handle|Transport endpoint is not connected|\bInput/output error|"
        r"Cannot send after transport endpoint shutdown|Remote I/O error",
        "the shared file system failed under a job (a server was restarted, a folder moved): the "
        "next attempt goes on from its last whole chunk; if it comes again, tell the site, and "
        "look that results: in the study's config is on a disk which all nodes see",
    ),
    (
        r"couldn't chdir to|\.venv\S*/bin/python: (?:No such file|not found)",
        "a node does not see this folder: put the clone, its .venv and results: on a disk that "
        "login nodes and compute nodes share",
    ),
    (
        r"can't start new thread|pthread_create failed|Too many open files",
        "this host allows one user no more processes or files (`ulimit -a`): where login nodes are "
        "narrow, make controller runs Snakemake on a node; else lower jobs or local-cores in "
        f"{PROFILE}",
    ),
    (
        r"Read-only file system|Permission denied: '([^']+)'",
        "a folder cannot be written: check results: and weights: cache: in the study's config",
    ),
    (
        r"429 Client [Ee]rror|HTTP Error 429|Too Many Requests",
        "the hub of weights refuses because too much was asked: wait an hour, or export HF_TOKEN",
    ),
    (
        r"401 Client Error|HTTP Error 401|401 Unauthorized|GatedRepoError|access gated repo",
        "the hub of weights wants a token, or the terms of a model have not been accepted on its "
        "page: do that there, and export HF_TOKEN of that account",
    ),
    (
        r"403 Client Error|HTTP Error 403|(?<!failed: )(?<!ProxyError: )403 Forbidden|"
        r"Permanently disabled.{0,40}repo",
        "the hub of weights denies a file to this token: unset HF_TOKEN, or export one that may "
        "read it",
    ),
    (
        r"404 Client Error|HTTP Error 404|404 Not Found|(?:Repository|Entry|Revision)NotFoundError",
        "the hub of weights has no such file: check timm_id, weights or the revision of the "
        "backbone in config/backbones.csv or the study's config",
    ),
    (
        r"ProxyError|Tunnel connection failed|407 Proxy Authentication Required",
        "the proxy that HTTPS_PROXY names refuses or is not there: ask the site for the right one "
        "(with user and password, if it wants them), or unset it where there is a network without",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "a server shows a certificate that is not trusted here: where a site's proxy signs with "
        "its own, export SSL_CERT_FILE=<its certificates>",
    ),
    (
        r"Temporary failure in name resolution|Name or service not known|Network is unreachable|"
        r"Max retries exceeded with url(?!.*(?:ProxyError|CERTIFICATE))|Connect(?:ion)?Timeout|"
        r"nodename nor servname|cannot find the requested files|"
        r"LocalEntryNotFoundError|couldn't connect to 'https://huggingface",
        "there is no way to the network from there: make weights STUDY=<name> where there is one; "
        "then no job needs it",
    ),
    (
        r"SLURM status is: ?'TIMEOUT'|DUE TO TIME LIMIT",
        "a job ran out of time: its next attempt asks for more and goes on after the last whole "
        "chunk; raise retries on the command line if that was the last attempt",
    ),
    (
        r"SLURM status is: ?'OUT_OF_MEMORY'|oom[-_]kill|[Ee]xceeded (?:\w+ )?memory limit|"
        r"task \d+: Out Of Memory|OOM Killed|cgroup out-of-memory|\bMemoryError\b|"
        r"Cannot allocate memory|can't allocate memory|Unable to allocate [\d.]+ [KMGT]iB|"
        r"killed by signal: (?:Killed|Bus error)",
        "a job used more memory than it asked for: its next attempt asks for more; if that was the "
        f"last, set mem_mb for the rule in set-resources: {PROFILE}",
    ),
    (
        r"SLURM status is: ?'PREEMPTED'|DUE TO PREEMPTION",
        "a job had to make room for one of higher priority: it goes on from its last whole chunk; "
        "profiles/README.md, Preemptible partitions, says how such partitions are used well",
    ),
    (
        r"SLURM status is: ?'(?:NODE_FAIL|BOOT_FAIL)'|DUE TO NODE FAILURE",
        "a node failed under a job: its next attempt goes to another; slurm-exclude-failed-nodes "
        f"in {PROFILE} names nodes to keep away from",
    ),
]
# What the states of Slurm's accounting mean, for people.
STATES = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "was cancelled by a person or the site",
    "COMPLETING": "is ending",
    "DEADLINE": "missed the deadline that the site gave it",
    "FAILED": "ended with an error or was killed, and left no record",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "used more memory than it asked for",
    "PREEMPTED": "had to make room for a job of higher priority",
    "REQUEUED": "was put into the queue again",
    "REVOKED": "was taken back by the site",
    "TIMEOUT": "ran into its time limit",
    "UNKNOWN": "is no longer known to Slurm",
}

# Why a job waits, as squeue tells it, for people; limits have a hint.
WAITS = {
    "BeginTime": "is to begin later",
    "Dependency": "waits for another job",
    "JobHeldAdmin": "is held by the site",
    "JobHeldUser": "is held by its owner",
    "Licenses": "waits for a licence",
    "None": "has just been submitted",
    "Priority": "others are before it",
    "ReqNodeNotAvail": "nodes that it needs are down or reserved",
    "Reservation": "waits for its reservation",
    "Resources": "waits for nodes to become free",
}


def hints(logs: str | Path | list[str], results: str | Path | None = None) -> list[str]:
    """Hints that fit the messages of Snakemake's logs, each once, in the order above.

    ``results``: a folder whose disk is looked at.
    """
    text = ""
    for log in [logs] if isinstance(logs, str | Path) else logs:
        if Path(log).is_file():
            text += Path(log).read_text(errors="replace")
    fitting = of_text(text)
    if results and FULL not in fitting and shutil.disk_usage(results).free < ROOM:
        fitting.append(FULL)
    return fitting


def of_text(text: str) -> list[str]:
    """Hints that fit a message, in the order above."""
    fitting = []
    for pattern, hint in HINTS:
        if match := re.search(pattern, text):
            found = next((group for group in match.groups() if group), "")
            fitting.append(hint.format(found).replace(" ('')", ""))
    return fitting


def of_state(state: str) -> tuple[str, str]:
    """What a state of Slurm means, and the hint for it; empty where there is nothing to say."""
    found = of_text(f"SLURM status is: '{state}'")
    return STATES.get(state, ""), found[0] if found else ""
