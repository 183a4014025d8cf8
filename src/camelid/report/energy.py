"""Energy and carbon of a run, from measured seconds and stated watts.

Source: arXiv 2307.09288, Section 2.2.1, Table 2. The paper prints no formula; the one of Llama 1
(arXiv 2302.13971, Section 6) reproduces the table: power usage effectiveness 1.1, 0.385 kg/kWh.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.run.directory import Manifest

FORMULA = "Wh = seconds / 3600 x watts x PUE; g CO2eq = Wh x intensity (kg/kWh)"
"""As tables show it: a small run is no whole kWh."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """What a recipe states about the machine: nothing here is measured."""

    watts: float
    pue: float = 1.1
    """Power usage effectiveness of the building, at least 1."""
    intensity: float = 0.385
    """Carbon intensity in kg CO2eq per kWh."""

    def kwh(self, seconds: float) -> float:
        """Energy in kWh of so many measured seconds."""
        return seconds / 3600 * self.watts / 1000 * self.pue

    def carbon_kg(self, seconds: float) -> float:
        """Carbon in kg of CO2 equivalent of so many measured seconds."""
        return self.kwh(seconds) * self.intensity


def stated_power(manifest: Manifest) -> Power:
    """The power figures that a run's manifest states."""
    return Power(
        watts=manifest.watts,
        pue=manifest.power_usage_effectiveness,
        intensity=manifest.carbon_kg_per_kwh,
    )
