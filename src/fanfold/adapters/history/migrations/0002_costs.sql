-- What chunks, and the elements of calls and maps, needed of a processor and of memory.

alter table chunks add column cpu_s double precision not null default 0;
alter table chunks add column before_bytes bigint not null default 0;
alter table chunks add column peak_bytes bigint not null default 0;
alter table task_runs add column cpu_s double precision not null default 0;
alter table task_runs add column peak_bytes bigint not null default 0;
alter table task_runs add column rise_bytes bigint not null default 0;
