"""A stand-in for the module ``ray``: as much as this package calls, without a cluster."""

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
    """As much of the module ``ray`` as this package calls.

    Parameters
    ----------
    cpus
        Cores of each node.

    Attributes
    ----------
    calls : list
        The calls of actors' methods with their arguments.
    results : dict
        Results of calls that have ended; an exception is raised.
    ready : dict or None
        Result of each slot's ``set_up``; None if the test sets the results itself.
    start_error : Exception or None
        What calls of ``start`` raise. They end at once, with None if there is no error.
    is_shut_down : bool
        Whether the connection was closed.
    """

    class exceptions:  # noqa: N801
        RayError = ConnectionError

    ready: dict[str, Any] | None = None
    start_error: Exception | None = None
    is_shut_down = False

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
        if self.ready is not None:
            self.results |= {call: self.ready for call in calls if call.startswith("set_up")}
        self.results |= {call: self.start_error for call in calls if call.startswith("start")}
        done = [call for call in calls if call in self.results]
        return done, [call for call in calls if call not in done]

    def get(self, call: str) -> Any:
        result = self.results.pop(call)
        if isinstance(result, Exception):
            raise result
        return result

    def kill(self, _: Any) -> None:
        self.killed += 1

    def put(self, value: Any) -> Any:
        return value

    def shutdown(self) -> None:
        self.is_shut_down = True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(sum(self.cpus))}

    def available_resources(self) -> dict[str, float]:
        return {}

    def pending(self, name: str) -> list[str]:
        return [call for call, _ in self.calls if call.startswith(name)]
