"""Where and on what to run: the keys of ``resources``, and the place that a task may name as well."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from gpuforge.spec import fields as kinds
from gpuforge.spec.accelerators import Gpus
from gpuforge.spec.autostop import Autostop

__all__ = ["Alternative", "Placed", "Resources"]

_CONFIG = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True)


class Placed(BaseModel):
    """Where to rent."""

    model_config = _CONFIG

    infra: kinds.Infra | None = None
    """Place: provider, provider/region or provider/region/zone; * stands for any."""
    cloud: kinds.ProviderName | None = None
    """Provider; the same as the first part of infra."""
    region: kinds.PlaceName | None = None
    """Exactly this region."""
    zone: kinds.PlaceName | None = None
    """Exactly this zone."""


class Alternative(Placed):
    """One acceptable kind of node; what it leaves out comes from the resources around it."""

    accelerators: Gpus | None = None
    """GPUs per node: NAME or NAME:COUNT; a map means any of them (cheapest), a list means that order."""
    cpus: kinds.Cpus | None = None
    """vCPUs per node: 4 (exactly), 4+ (at least), 4..8."""
    memory: kinds.Memory | None = None
    """Memory per node: 32GB (exactly), 32GB+ (at least), 32..64."""
    instance_type: kinds.InstanceType | None = None
    """Exactly this instance type."""
    use_spot: kinds.Flag | None = None
    """Rent spot capacity, which the cloud may take back."""
    disk_size: kinds.DiskSize | None = None
    """Boot disk in GB; 50 when not said."""
    image: kinds.Image | None = None
    """Machine image, by name or family; the provider's deep-learning image when not said."""
    max_hourly_cost: kinds.Money | None = None
    """Leave out what costs more US dollars per hour, all nodes together."""


class Resources(Alternative):
    """What each node must have."""

    labels: kinds.Labels = Field(default_factory=dict)
    """Labels put on every instance, beside gpuforge's own."""
    autostop: Autostop = "default"
    """Delete machines after so many idle minutes; 20 when not said, false for never before the deadline."""
    any_of: tuple[Alternative, ...] | None = None
    """Any of these will do; the cheapest that can be had wins."""
    ordered: tuple[Alternative, ...] | None = None
    """These will do, in this order."""
