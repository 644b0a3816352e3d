"""What GPUs can do at most, by their makers' data sheets: the denominator of MFU."""

# bfloat16 products with float32 sums, without sparsity, in TFLOP/s. Where a sheet gives the figure with sparsity alone,
# half of it. The first name that is part of the device's counts.
_PEAK_TFLOPS = {
    "B200": 2250,  # NVIDIA DGX B200 data sheet: 36 PFLOP/s with sparsity for eight
    "H200 NVL": 835,  # NVIDIA H200 data sheet: 1,671 with sparsity
    "H200": 989,  # the same: 1,979 with sparsity
    "H100 NVL": 835,  # NVIDIA H100 data sheet: 1,671 with sparsity
    "H100 PCIe": 756,  # NVIDIA H100 data sheet of 2022: 1,513 with sparsity
    "H100": 989,  # NVIDIA H100 data sheet: 1,979 with sparsity
    "A100": 312,  # NVIDIA A100 data sheet
    "L40S": 362,  # NVIDIA L40S data sheet
    "L4": 121,  # NVIDIA L4 data sheet: 242 with sparsity
    "RTX 4090": 165,  # NVIDIA Ada architecture whitepaper, appendix A
}

_LESS = {"Laptop", "MIG", "D"}
"""Words in the names of devices that are less than what they are called after."""


def peak_operations(device_name: str) -> float | None:
    """Operations a second; None for a device that is not in the table."""
    words = device_name.replace("-", " ").split()
    if _LESS.intersection(words):
        return None
    peaks = (tflops for name, tflops in _PEAK_TFLOPS.items() if f" {name} " in f" {' '.join(words)} ")
    peak = next(peaks, None)
    return None if peak is None else peak * 1e12
