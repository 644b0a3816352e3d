"""CUDA graphs of work that is the same each time: captured once, then replayed without launching kernel by kernel."""

from collections.abc import Callable, Hashable

import torch


class CudaGraphs:
    """Runs pieces of work by their names: on a GPU from their graphs, on other devices directly.

    A piece of work must launch the same kernels each time and must not wait for the device. It must read and write
    memory that keeps its place. Memory that it allocates itself is valid only until the next piece runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._captures = device.type == "cuda"
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        # Pieces run one after the other, so all of them can share their scratch memory.
        self._pool = torch.cuda.graph_pool_handle() if self._captures else None

    def __call__(self, name: Hashable, work: Callable[[], None]) -> None:
        """Run the piece of work of this name, which must be the same work each time."""
        graph = self._graphs.get(name)
        if graph is not None:
            graph.replay()
            return
        # The first time the work is launched directly: nothing can be loaded or compiled during a capture.
        work()
        if self._captures:
            graph = torch.cuda.CUDAGraph()
            # "thread_local": other threads of the process may use the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                work()
            self._graphs[name] = graph
