"""The two drivers do the same."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from fanfold.engine.drive import drive, drive_async


def story() -> Generator[Any, Any, list[Any]]:
    told: list[Any] = []
    for effect in ("a", "b", "c"):
        told.append((yield effect))
    return told


def test_a_story_is_sent_the_outcomes_of_its_effects_and_its_result_returned() -> None:
    assert drive(story(), str.upper) == ["A", "B", "C"]


def test_an_async_driver_awaits_outcomes_that_are_awaitable_and_only_those() -> None:
    async def later(effect: str) -> str:
        await asyncio.sleep(0)
        return effect.upper()

    def perform(effect: str) -> Any:
        return later(effect) if effect != "b" else effect

    assert asyncio.run(drive_async(story(), perform)) == ["A", "b", "C"]


def test_what_performing_raises_ends_the_story() -> None:
    def perform(effect: str) -> Any:
        raise ValueError(effect)

    with pytest.raises(ValueError, match="a"):
        drive(story(), perform)
    with pytest.raises(ValueError, match="a"):
        asyncio.run(drive_async(story(), perform))
