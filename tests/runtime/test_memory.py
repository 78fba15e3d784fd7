"""Free memory, as reported by various systems."""

import builtins
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import impasto
from impasto.errors import ResourceError
from impasto.images import files
from impasto.runtime.memory import available_memory, is_out_of_memory, keep_freed_memory, return_freed_memory, used_memory

CPU = torch.device("cpu")


def test_the_free_memory_of_this_machine_is_reported() -> None:
    free = available_memory(CPU)
    assert free is None or free > 2**20


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a primitive descriptor for a convolution"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("could not create a primitive"), False),
    ],
    ids=str,
)
def test_errors_of_memory_are_recognized(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) == is_memory


def test_the_free_memory_of_a_gpu_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 10))
    assert available_memory(torch.device("cuda")) == 5


@pytest.mark.parametrize(("limit", "free"), [("3000", 1500), ("1000", 0), ("max", None), ("9223372036854771712", None)])
def test_free_memory_is_limited_by_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, free: int | None
) -> None:
    whole = available_memory(CPU)
    if whole is None or not os.path.exists("/proc/meminfo"):
        pytest.skip("only Linux reports the free memory")
    for name, text in (("max", limit), ("current", "2000"), ("stat", "anon 1400\ninactive_file 500\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr("impasto.runtime.memory._CGROUPS", ((tmp_path, "memory.max", "memory.current", "inactive_file"),))
    found = available_memory(CPU)
    assert found is not None
    assert found > 2**20 if free is None else found == free


def test_without_proc_half_of_the_installed_memory_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **options: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", missing)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}[name], raising=False)
    assert available_memory(CPU) == 4096 * 500
    monkeypatch.delattr(os, "sysconf")
    assert available_memory(CPU) is None


def test_a_picture_that_does_not_fit_into_memory_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    assert impasto.read(picture).size == (100, 200)
    monkeypatch.setattr(files, "available_memory", lambda device: 26 * 20_000 - 1)
    with pytest.raises(ResourceError, match=r"200 x 100 .* need .* of memory, but only .* free; reduce its"):
        impasto.read(picture)
    monkeypatch.setattr(files, "available_memory", lambda device: None)
    assert impasto.read(picture).size == (100, 200)


def test_freed_memory_is_kept_if_the_c_library_supports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to = {}

    class Library:
        class mallopt:  # noqa: N801  (as it is called in C)
            argtypes: tuple[type, ...] = ()

            def __new__(cls, parameter: int, value: int) -> int:  # type: ignore[misc]
                set_to[parameter] = value
                return 1

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library)
    assert keep_freed_memory()
    assert set_to == {-4: 0, -1: 2**30}
    set_to.clear()
    assert keep_freed_memory(except_largest=True)
    assert set_to == {-3: 2**25, -1: 2**30}


def test_a_c_library_without_mallopt_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
    assert not return_freed_memory()


def test_freed_memory_is_returned_if_the_c_library_supports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Library:
        class malloc_trim:  # noqa: N801  (as it is called in C)
            def __new__(cls, kept: int) -> int:  # type: ignore[misc]
                calls.append(kept)
                return 1

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library)
    assert return_freed_memory()
    assert calls == [0]


def test_the_used_memory_grows_with_what_is_allocated() -> None:
    return_freed_memory()  # memory that earlier tests freed would be used again
    before = used_memory(CPU)
    block = torch.ones(2**24)
    assert used_memory(CPU) - before > 0.9 * 4 * len(block)


def test_the_used_memory_of_a_gpu_is_that_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 7)
    assert used_memory(torch.device("cuda")) == 7
