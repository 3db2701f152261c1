"""What is read ahead comes in order, one at a time, and a fault comes where it belongs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from fqi.errors import UserError
from fqi.qfunctions.reading import onto, read_ahead

CPU = torch.device("cpu")


class Found:
    def __init__(self, number: int) -> None:
        self.number = number

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return ()


def test_the_next_is_read_while_one_is_worked_on_and_no_more() -> None:
    begun: list[int] = []
    second = threading.Event()

    def job(number: int) -> Callable[[], Found]:
        def read() -> Found:
            assert threading.current_thread() is not threading.main_thread()
            begun.append(number)
            if number == 1:
                second.set()
            return Found(number)

        return read

    found = read_ahead((job(number) for number in range(5)), CPU)
    assert next(found).number == 0
    assert second.wait(10)  # read while the first is held
    assert begun == [0, 1]
    assert [one.number for one in found] == [1, 2, 3, 4]
    assert begun == [0, 1, 2, 3, 4]


def test_a_fault_is_raised_where_its_result_would_be() -> None:
    def broken() -> Found:
        raise UserError("the file is cut off")

    def jobs() -> Iterator[Callable[[], Found]]:
        yield lambda: Found(0)
        yield broken

    found = read_ahead(jobs(), CPU)
    assert next(found).number == 0
    with pytest.raises(UserError, match="the file is cut off"):
        next(found)
    assert list(read_ahead(iter(()), CPU)) == []


def test_on_a_cpu_nothing_is_copied() -> None:
    array = torch.arange(3).numpy()
    array[0] = 7
    assert onto(array, CPU).data_ptr() == array.ctypes.data


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_arrives_on_a_gpu_is_what_was_read() -> None:
    class Sent:
        def __init__(self, number: int) -> None:
            self.tensor = onto(torch.full((1 << 20,), number).numpy(), torch.device("cuda"))

        def tensors(self) -> tuple[torch.Tensor, ...]:
            return (self.tensor,)

    jobs = (lambda number=number: Sent(number) for number in range(8))
    for number, sent in enumerate(read_ahead(jobs, torch.device("cuda"))):
        assert bool((sent.tensor == number).all())
