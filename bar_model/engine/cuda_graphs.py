"""Work that is the same each time: on a GPU it is captured once as a CUDA graph, and from then on replayed."""

from collections.abc import Callable, Hashable

import torch


class CudaGraphs:
    """Runs pieces of work by their names; elsewhere than on a GPU it simply runs them.

    The work must launch the same kernels each time, must not wait for the device, and must read and write memory that
    stays where it is; what it allocates itself is only good until the next piece runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._captures = device.type == "cuda"
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        # Pieces run one after the other, so that one's scratch memory serves all.
        self._pool = torch.cuda.graph_pool_handle() if self._captures else None

    def __call__(self, name: Hashable, work: Callable[[], None]) -> None:
        graph = self._graphs.get(name)
        if graph is not None:
            graph.replay()
            return
        # The first time it is done by launches, which also loads and compiles what can't be while capturing.
        work()
        if self._captures:
            graph = torch.cuda.CUDAGraph()
            # Other threads of the process may go on using the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                work()
            self._graphs[name] = graph
