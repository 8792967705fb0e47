"""A stand-in for the module ``ray``: as much as ``RayPool`` calls, without a cluster."""

from __future__ import annotations

from typing import Any


class FakeActor:
    """An actor whose methods store the call; their results are set by the test."""

    def __init__(self, ray: FakeRay) -> None:
        self.ray = ray

    def __getattr__(self, name: str) -> Any:
        return FakeMethod(self.ray, name)


class FakeMethod:
    """A method of an actor; a call is a text of its name and a number."""

    def __init__(self, ray: FakeRay, name: str) -> None:
        self.ray, self.name = ray, name

    def options(self, **_: Any) -> FakeMethod:
        return self

    def remote(self, *arguments: Any) -> str:
        call = f"{self.name} {len(self.ray.calls)}"
        self.ray.calls.append((call, arguments))
        return call


class FakeRay:
    """As much of the module ``ray`` as ``RayPool`` calls."""

    class exceptions:  # noqa: N801
        RayError = ConnectionError

    def __init__(self, *cpus: int) -> None:
        self.cpus = cpus
        self.calls: list[tuple[str, Any]] = []
        self.results: dict[str, Any] = {}
        self.killed = 0

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": True, "NodeID": str(number), "Resources": {"CPU": cpus}}
            for number, cpus in enumerate(self.cpus)
        ]

    def remote(self, **_: Any) -> Any:
        ray = self

        class Factory:
            def options(self, **_: Any) -> Any:
                return self

            def remote(self) -> FakeActor:
                return FakeActor(ray)

        return lambda _: Factory()

    def wait(self, calls: list[str], **_: Any) -> tuple[list[str], list[str]]:
        done = [call for call in calls if call in self.results]
        return done, [call for call in calls if call not in done]

    def get(self, call: str) -> Any:
        result = self.results.pop(call)
        if isinstance(result, Exception):
            raise result
        return result

    def kill(self, _: Any) -> None:
        self.killed += 1

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(sum(self.cpus))}

    def available_resources(self) -> dict[str, float]:
        return {}

    def pending(self, name: str) -> list[str]:
        return [call for call, _ in self.calls if call.startswith(name)]
