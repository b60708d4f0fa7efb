"""From hours and watts to kWh, CO2 and service units; the site's figures come from the config.

CO2 = intensity x PUE x energy, as in the paper's section on carbon (reassessment-2025), where the
energy is power x time. A measured energy takes the place of power x time wherever there is one.
"""

import csv
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tokenscope.errors import StudyError

JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Site:
    """What an hour costs at one site.

    ``intensity`` in kg CO2 per kWh of electricity; ``pue``: energy of the building per energy of
    the machines, at least 1; watts of one GPU and of one core at full load; service units of one
    GPU-hour (its share of cores included) and of one core-hour of a job without GPU.
    ``least_cores``: the smallest allocation of a job without GPU, which a smaller one pays as well.
    """

    site: str
    intensity: float
    pue: float
    gpu_watts: float
    core_watts: float
    units_per_gpu_hour: float = 0
    units_per_core_hour: float = 0
    least_cores: float = 1
    source: str = ""

    def __post_init__(self):
        """Nonsense is refused here too, since presets and notebooks pass no schema."""
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is float and not 0 <= value < float("inf"):
                raise StudyError(f"carbon: site {self.site}: {f.name} is {value}, must be >= 0")
        if self.pue < 1:
            raise StudyError(f"carbon: site {self.site}: pue is {self.pue}, it cannot be under 1")

    @classmethod
    def of(cls, section: dict) -> "Site":
        """The site a config's ``carbon`` section names, with the values it overrides.

        Raises:
            StudyError: no such site in the table; the message lists those there are.
        """
        table = section["sites"]
        if not Path(table).is_file():
            raise StudyError(f"carbon: sites: the table {table} does not exist")
        with open(table, newline="") as handle:
            known = {row["site"]: row for row in csv.DictReader(handle)}
        if section["site"] not in known:
            raise StudyError(
                f"carbon: site: '{section['site']}' is not in {table}, only: {', '.join(known)}"
            )
        numbers = [f.name for f in fields(cls) if f.type is float]
        try:
            row = known[section["site"]]
            told = {name: text for name, text in row.items() if text}  # else the default
            site = cls(**told | {name: float(told[name]) for name in numbers if name in told})
        except (ValueError, TypeError, KeyError) as error:
            message = f"{table}: the row of {section['site']} is not whole: {error}"
            raise StudyError(message) from None
        own = {name: float(section[name]) for name in numbers if section.get(name) is not None}
        if own:
            site = replace(site, source=f"{', '.join(own)}: config; else: {site.source}", **own)
        return site

    def kwh(self, gpu_hours: float, core_hours: float, gpu_watts: float | None = None) -> float:
        """Energy of the machines by the formula, or with a measured power of the GPU."""
        watts = self.gpu_watts if gpu_watts is None else gpu_watts
        return (gpu_hours * watts + core_hours * self.core_watts) / 1000

    def co2(self, kwh: float) -> float:
        """kg of CO2 of the energy of the machines; the building's share is added here."""
        return self.intensity * self.pue * kwh

    def units(self, hours: float, gpus: float, cores: float) -> float:
        """Service units of a job: by its GPUs, or by its cores where those cost more."""
        cores = self.allocated(gpus, cores)
        return hours * max(gpus * self.units_per_gpu_hour, cores * self.units_per_core_hour)

    def allocated(self, gpus: float, cores: float) -> float:
        """Cores that a job holds at this site: no fewer than the smallest allocation."""
        return cores if gpus else max(cores, self.least_cores)


def paper_rows(published: list[dict], site: Site) -> list[dict]:
    """The paper's section on carbon worked through: what its own inputs give, and what it printed.

    Args:
        published: rows of published.csv; those with item ``carbon`` are used.
        site: the site of this study, for the same energy there.

    Raises:
        StudyError: an input of the formula is missing from the published rows.
    """
    given = {row["metric"]: float(row["value"]) for row in published if row["item"] == "carbon"}
    needed = ("carbon_intensity", "pue", "power_cpu", "power_gpu", "service_units")
    needed += ("service_units_per_hour", "compute_time", "co2")
    if missing := set(needed) - set(given):
        raise StudyError(f"published.csv lacks the carbon inputs {', '.join(sorted(missing))}")
    intensity, pue, cpu, gpu, units, per_hour, hours, printed = (given[name] for name in needed)
    power = cpu + gpu
    kwh = power * hours
    rows = [
        ("carbon_intensity", intensity, "kg/kWh", "printed"),
        ("pue", pue, "", "printed"),
        ("power", power, "kW", f"printed: {gpu:g} for an H100 and {cpu:g} for 16 cores"),
        ("compute_time", hours, "h", "printed"),
        (
            "compute_time_from_units", units / per_hour, "h",
            f"{units:,.0f} SBU at {per_hour:g} SBU per hour",
        ),
        ("energy", kwh, "kWh", "power x time"),
        ("co2", intensity * pue * kwh, "kg", "intensity x PUE x power x time, as printed"),
        ("co2_printed", printed, "kg", "printed; the printed inputs do not give it"),
        (
            "intensity_implied", printed / (pue * kwh), "kg/kWh",
            "the intensity that gives the printed CO2",
        ),
        ("co2_at_0.20", 0.20 * pue * kwh, "kg", "with 0.20 kg/kWh: the printed CO2"),
        ("co2_this_site", site.co2(kwh), "kg", f"the paper's energy at the site {site.site}"),
    ]  # fmt: skip
    return [dict(zip(("quantity", "value", "unit", "note"), row, strict=True)) for row in rows]
