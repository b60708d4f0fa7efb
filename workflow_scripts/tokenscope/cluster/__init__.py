"""Would this site's Slurm run the jobs of a study? Asked before the first is submitted.

In reading order: `requests` (what the jobs ask for, each kind once), `partitions` (what the site's
partitions have), `profile` (in which line of a profile a setting stands), `refusals` (what of it
Slurm would refuse, with the line to change), `before_start` (all of it, at the start of a run);
`slurm_plugin` mends what the plugin waits for without end; `at_end` sends word
when a run has ended.
"""
