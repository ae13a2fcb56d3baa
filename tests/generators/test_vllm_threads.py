# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

import torch

from generators.backends import vllm


def test_an_engine_gets_the_threads_of_its_settings_and_leaves_those_of_others_to_them():
    def load() -> int:
        with vllm._threads(3):
            torch.set_num_threads = lambda number: None  # as vLLM does on a CPU, for all threads
        return int(torch.get_num_threads())

    set_threads = torch.set_num_threads
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(load).result() == 3
    assert torch.set_num_threads is set_threads
