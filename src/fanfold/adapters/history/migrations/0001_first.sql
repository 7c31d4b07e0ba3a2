-- Runs, what they said and made, who holds them, and named documents.
-- Columns that questions never look at stand last: SQLite then needn't read them.

create table flow_runs (
    id {text} primary key,
    parent_id {text} not null,
    flow {text} not null,
    name {text} not null,
    state integer not null,
    created_us bigint not null,
    started_us bigint,
    ended_us bigint,
    cancel_asked integer not null,
    tries bigint not null,
    lines_dropped bigint not null,
    process bigint not null,
    version {text},
    label {text} not null,
    message {text} not null,
    parent_task_run_id {text} not null,
    retry_of {text} not null,
    entrypoint {text} not null,
    runner {text} not null,
    host {text} not null,
    tags {text} not null,
    parameters {text} not null,
    problem {text},
    arguments {blob}
);

-- Most questions for runs are answered by walking this from its end, without a look at the rows.
create index flow_runs_seen
    on flow_runs (id, state, parent_id, flow, name, created_us, ended_us, tags);
create index flow_runs_called on flow_runs (parent_id, id) where parent_id <> '';
create index flow_runs_to_cancel on flow_runs (id) where cancel_asked = 1 and ended_us is null;

create table task_runs (
    id {text} primary key,
    flow_run_id {text} not null,
    task {text} not null,
    name {text} not null,
    count bigint not null,
    single integer not null,
    first bigint not null,
    created_us bigint not null,
    ended_us bigint,
    seconds double precision not null,
    counts {text},
    stream {text} not null,
    parent_id {text} not null,
    tags {text} not null,
    entrypoint {text} not null,
    states {blob}
);

create index task_runs_of_flow_run on task_runs (flow_run_id, id);
create index task_runs_open on task_runs (flow_run_id, id) where ended_us is null;
create index task_runs_of_task on task_runs (task, id);
create index task_runs_named on task_runs (name, id);

create table chunks (
    number {serial},
    flow_run_id {text} not null,
    task_run_id {text} not null,
    chunk {text} not null,
    worker {text} not null,
    seconds double precision not null,
    at_us bigint not null,
    spans {text} not null,
    states {text} not null
);

create unique index chunks_once on chunks (task_run_id, chunk);
create index chunks_of_task_run on chunks (task_run_id, number);
create index chunks_of_flow_run on chunks (flow_run_id);

create table elements (
    task_run_id {text} not null,
    place bigint not null,
    flow_run_id {text} not null,
    state integer not null,
    attempts bigint not null,
    at_us bigint not null,
    seconds double precision not null,
    name {text} not null,
    label {text} not null,
    message {text} not null,
    problem_kind {text},
    problem_where {text},
    problem_message {text},
    problem_traceback {text},
    arguments {blob},
    primary key (task_run_id, place)
);

create index elements_by_state on elements (task_run_id, state, place);
-- Failures are counted by walking this, without a look at the rows and their long tracebacks.
create index elements_alike
    on elements (flow_run_id, state, problem_kind, problem_where, task_run_id, place, attempts);

create table lines (
    id {serial},
    flow_run_id {text} not null,
    task_run_id {text} not null,
    place bigint,
    attempt bigint not null,
    level integer not null,
    at_us bigint not null,
    logger {text} not null,
    message {text} not null
);

create index lines_of_flow_run on lines (flow_run_id, id);
create index lines_of_task_run on lines (task_run_id, id) where task_run_id <> '';
create index lines_of_element on lines (task_run_id, place, id) where place is not null;
create index lines_of_warnings on lines (flow_run_id, id) where level >= 30;

create table artifacts (
    id {text} primary key,
    created_us bigint not null,
    key {text} not null,
    kind {text} not null,
    flow_run_id {text} not null,
    latest integer not null,
    version bigint not null,
    changed_us bigint not null,
    task_run_id {text} not null,
    place bigint,
    description {text} not null,
    data {text} not null
);

create index artifacts_seen on artifacts (created_us, id, key, kind, flow_run_id, latest);
create index artifacts_of_key on artifacts (key, version) where key <> '';
create index artifacts_of_flow_run on artifacts (flow_run_id);

create table leases (
    name {text} primary key,
    owner {text} not null,
    epoch bigint not null
);

create index leases_held on leases (owner, name) where owner <> '';

create table owners (
    owner {text} primary key,
    until_us bigint not null
);

create table writers (
    writer {text} primary key,
    number bigint not null,
    at_us bigint not null
);

create table documents (
    kind {text} not null,
    name {text} not null,
    version bigint not null,
    body {text} not null,
    changed_us bigint not null,
    primary key (kind, name)
);

-- only sqlite
-- Without content of its own: what it is given are the words of lines, as rows of lines tell them.
create virtual table lines_words
    using fts5 (words, content = '', columnsize = 0, tokenize = 'ascii');

-- only postgresql
alter table lines add column words tsvector not null;
create index lines_words on lines using gin (words);
