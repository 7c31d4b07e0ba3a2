"""Running code can ask what it is part of: names, tags, parameters and counts of its run."""

from fanfold import flow, runtime, tags, task
from fanfold.runtime import flow_run, task_run


@task(task_run_name="sort-{letter}-{office}", tags=["post"])
def sort(letter: str, office: str = "main") -> str:
    assert task_run.id and flow_run.id and task_run.id != flow_run.id
    return (
        f"{task_run.name} ({task_run.task_name}) {sorted(task_run.tags)}"
        f" {dict(task_run.parameters)} try {task_run.run_count} in {flow_run.name}"
    )


def by_parameters() -> str:
    return f"{flow_run.flow_name} of {flow_run.parameters['town']}"


@flow(flow_run_name=by_parameters)
def branch(town: str) -> str:
    with tags("rush"):
        return sort(town, office=town[0])


@flow(name="post-office", flow_run_name="round {number} in {town}")
def office(number: int, town: str = "Ulm") -> list[str]:
    print(runtime.flow_run.name, "|", flow_run.flow_name, flow_run.parameters, flow_run.run_count)
    print(sorted(flow_run.tags), runtime.task_run.name)
    lines = [sort("a"), sort.submit("b").result(), branch(town)]
    with tags("express", "night"):
        with tags("blue"):
            lines.append(sort("c"))
        lines.append(sort("d"))
    lines.append(sort("e"))
    return lines


if __name__ == "__main__":
    print(flow_run.name, flow_run.id, task_run.name, flow_run.parameters, flow_run.tags)
    with tags("daily"):
        lines = office(3)
    print(*lines, sep="\n")
    assert lines[0].startswith("sort-a-main (sort) ['daily', 'post']")
    assert "branch of Ulm" in lines[2] and "rush" in lines[2]
