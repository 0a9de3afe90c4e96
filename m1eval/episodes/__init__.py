"""Episodes: ways to ask a sample, from a single turn to an agent.

An episode is `async def run(sample, runner, context) -> Output`. It asks `runner`, as often as it likes and several
requests in parallel if it likes; the result is graded. Each request waits for a place in the run's concurrency and
gives it back with its answer, so that an episode which sleeps or runs a tool keeps nobody waiting. Usage, cost and the
transcript are collected from its requests. What the scorer needs of it, such as a container, goes into `context`.
"""

from m1eval.protocols import Context, Runner
from m1eval.types import Output, Request, Sample


async def single_turn(sample: Sample, runner: Runner, context: Context) -> Output:
    """Ask once, with the sample's messages: the episode of tasks that name none."""
    return await runner.generate(Request(messages=sample.messages, tools=sample.tools))
