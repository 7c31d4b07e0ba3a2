"""What carrying a chunk costs whom: figures that were measured, and where and when."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a cluster makes Fanfold pay. Seconds of a core, unless it says otherwise."""

    name: str
    submit_s: float
    """The driver, to hand out a chunk."""
    report_s: float
    """The driver, to take in a report."""
    arrive_s: float
    """The scheduler, to take in a chunk."""
    assign_s: float
    """The scheduler, to send a chunk to a worker."""
    look_s: float
    """The scheduler, for each worker with room that it looks at to choose one."""
    finish_s: float
    """The scheduler, to take in a chunk's end and pass on its report."""
    pass_s: float
    """The scheduler, for a word of a running chunk."""
    hear_s: float
    """The driver, for a word of a running chunk."""
    carry_s: float
    """The scheduler, for each element's argument that passes through it, pickled."""
    chunk_s: float
    """A worker, for a chunk whatever its length."""
    element_s: float
    """A worker, for an element whatever it does: argument unpickled, called, result pickled."""
    pack_s: float
    """The driver, to pickle an element's argument."""
    read_s: float
    """The driver, to unpickle an element's result for `.result()`."""
    fetch_s: float
    """To fetch the values of some chunks that didn't come with their reports; latency."""
    flow_s: float
    """A flow run around a map, with its session; latency."""
    door_s: float
    """Between driver and scheduler, one way; latency, no core is busy."""
    batch_s: float
    """For so long the driver's client holds a message back after one that it has sent."""
    hop_s: float
    """Between scheduler and worker, one way; latency."""
    bytes_per_s: float = 1.25e9
    """Of the driver's link and of the scheduler's; 10 Gbit/s, not measured."""
    small_elements: int = 400
    """Chunks that reach fewer send their values home with the report."""
    ahead: int
    """Chunks that a worker with one slot has at most, with the one that it runs."""
    steals: bool = False
    """Whether idle workers get what waits behind others' chunks."""
    marks: bool = False
    """Whether a report of a lost worker can say that a chunk never started."""


DASK = Costs(
    name="dask",
    submit_s=290e-6,
    report_s=920e-6,
    arrive_s=380e-6,
    assign_s=380e-6,
    look_s=0.1e-6,
    finish_s=510e-6,
    pass_s=450e-6,
    hear_s=250e-6,
    carry_s=0.02e-6,
    chunk_s=1.6e-3,
    element_s=0.13e-6,
    pack_s=0.105e-6,
    read_s=0.054e-6,
    fetch_s=4e-3,
    flow_s=9e-3,
    door_s=0.2e-3,
    batch_s=10e-3,
    hop_s=0.2e-3,
    ahead=2,
    steals=True,
)
RAY = Costs(
    name="ray",
    submit_s=350e-6,
    report_s=800e-6,
    arrive_s=14e-6,
    assign_s=14e-6,
    look_s=0.0,
    finish_s=19e-6,
    pass_s=50e-6,
    hear_s=250e-6,
    carry_s=0.04e-6,
    chunk_s=1.15e-3,
    element_s=0.125e-6,
    pack_s=0.14e-6,
    read_s=0.05e-6,
    fetch_s=0.0,
    flow_s=5.7e-3,
    door_s=0.2e-3,
    batch_s=0.0,
    hop_s=0.2e-3,
    ahead=1,
)
"""Both as `calibration` found them on 2026-11-23: two cores of an x86-64 machine that others used
too, Python 3.11.7, distributed 2026.8.0, Ray 2.60.0; medians of three to five calibrations."""
