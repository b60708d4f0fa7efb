"""Does this machine compute what the instrument promises? The first ten minutes on a GPU.

In reading order: `outcome` (a check, what became of it, the table), `setting` (the backbone and the
images that are tried), `numerics` (repeatable bits, no race, precision, memory, LOST, neurons),
`interruption` (killed and resumed), `energy` (counter against sampled power), `processes` (two
devices against one), `workflow` (the demo here against a CPU's; released weights against the
literature), `speed` (the ratios that benchmarks ask for), `node` (what jobs of a cluster find on a
node, for `make doctor`). `make accept` runs all that the machine
allows and lists what it could not.
"""
